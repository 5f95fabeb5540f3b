/**
 * A cluster of three whose leader is killed every ten seconds, under a load of hundreds of containers a
 * second. `FAULT_SECONDS` says for how long, `FAULT_RATE` how many containers start in a second.
 *
 * It prints how long the cluster took no writes, and how long discover needed from the first write that
 * the cluster took again until etcd was right. Right means, under a load that never pauses, that nothing
 * which happened more than `graceMs` ago was still missing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Lifecycle, monotonicMs } from '../../bench/engine/churn.ts';
import { forkEngine } from '../../bench/engine/client.ts';
import type { Change } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, fromEngine, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const seconds = Number(process.env.FAULT_SECONDS ?? 180);
const rate = Number(process.env.FAULT_RATE ?? 300);
const everyMs = 10_000;
const graceMs = 100;

/**
 * When the cluster has taken a write: a lease that nobody uses. It is asked for anew every few
 * milliseconds, for a member without a leader holds on to the question until it is too late.
 */
async function writable(endpoints: readonly string[]): Promise<number> {
  let granted = 0;
  const grant = async (endpoint: string): Promise<void> => {
    const body = JSON.stringify({ TTL: 2 });
    const signal = AbortSignal.timeout(5_000);
    const answer = await fetch(`${endpoint}/v3/lease/grant`, { method: 'POST', body, signal });
    await answer.arrayBuffer();
    if (answer.ok && granted === 0) granted = performance.now();
  };
  return eventually(
    () => {
      for (const endpoint of endpoints) grant(endpoint).catch(() => {}); // as is to be expected
      assert.ok(granted > 0, 'Not yet');
      return granted;
    },
    { everyMs: 50, timeoutMs: 60_000 },
  );
}

/** From when until when etcd was behind the engine by more than the grace, in order, as one reads it. */
function arrears(lives: readonly Lifecycle[], changes: readonly Change[]): { from: number; until: number }[] {
  const offset = monotonicMs() - performance.now();
  const [put, gone] = [new Map<string, number>(), new Map<string, number>()];
  for (const { kind, key, at } of changes) {
    const shortId = /^\/discover\/host\/h1\/([0-9a-f]{12})$/.exec(key)?.[1];
    if (shortId !== undefined) (kind === 'put' ? put : gone).set(shortId, at);
  }
  const found: { from: number; until: number }[] = [];
  const note = (happened: number, seen: number): void => {
    if (seen > happened + graceMs) found.push({ from: happened + graceMs, until: seen });
  };
  for (const { id, startedMs, endedMs = Number.POSITIVE_INFINITY } of lives) {
    const shortId = id.slice(0, 12);
    const putAt = put.get(shortId);
    // One that ended before it was published never had to be.
    note(startedMs - offset, putAt ?? endedMs - offset);
    if (putAt !== undefined && endedMs !== Number.POSITIVE_INFINITY)
      note(endedMs - offset, gone.get(shortId) ?? Infinity);
  }
  return found.sort((a, b) => a.from - b.from);
}

/** The first moment not before the given one at which nothing was in arrears. */
function rightFrom(moment: number, sorted: readonly { from: number; until: number }[]): number {
  let at = moment;
  for (const { from, until } of sorted) if (from <= at && until > at) at = until;
  return at;
}

test(`three members lose their leader every 10 s for ${seconds} s at ${rate} lifecycles a second, and etcd is exact in the end (simulated engine, real etcd)`, {
  skip: needs('etcd', 'etcdctl'),
}, async (context) => {
  await using engine = await forkEngine({ containers: 50 });
  await using host = await startHost({ source: fromEngine(engine), ttl: 30, etcdOptions: { nodes: 3 } });
  const { etcd, recorder } = host;
  await host.converged();
  const first = knownOf(await engine.snapshot());
  let isOver = false;
  const churned = engine.churn({ rate, seconds, lifetimeMs: 1_000, survivors: 0.01 }).finally(() => {
    isOver = true;
  });
  const outages: { readonly killedAt: number; readonly writableAt: number }[] = [];
  while (!isOver) {
    const nextAt = performance.now() + everyMs;
    const leader = await eventually(() => etcd.leader());
    const killedAt = performance.now();
    await etcd.kill(leader);
    outages.push({ killedAt, writableAt: await writable(etcd.endpoints) });
    await sleep(everyMs / 4);
    await etcd.restart(leader);
    await sleep(Math.max(0, nextAt - performance.now()));
  }
  const { lifecycles, lagMsMax } = await churned;
  await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
  assertOnlyDeadDeleted(recorder.changes, lifecycles);

  const late = arrears(lifecycles, recorder.changes);
  const behind = outages.map(({ writableAt }) => rightFrom(writableAt, late) - writableAt).sort((a, b) => a - b);
  const shut = outages.map(({ killedAt, writableAt }) => writableAt - killedAt).sort((a, b) => a - b);
  const show = (sorted: readonly number[]): string =>
    `median ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms, longest ${Math.round(sorted.at(-1) ?? 0)} ms`;
  assert.ok(outages.length >= Math.floor((seconds * 1000) / everyMs) - 2, `Only ${outages.length} leaders were killed`);
  context.diagnostic(
    `${outages.length} leaders killed, ${lifecycles.length} lifecycles, the engine late by ${Math.round(lagMsMax)} ms at most`,
  );
  context.diagnostic(`the cluster took no writes: ${show(shut)}`);
  context.diagnostic(`from its first write until nothing older than ${graceMs} ms was missing: ${show(behind)}`);
  context.diagnostic(
    `changes recorded: ${recorder.changes.length}, claims: ${recorder.changes.filter(({ key }) => key === '/discover/owner/h1').length}`,
  );
});
