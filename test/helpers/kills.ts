/**
 * discover killed and started over and over while containers come and go: one programme, run short
 * with every test and long with the slow ones.
 *
 * Each process is killed in the middle of its work, at another point every time: some once they are
 * ready, some long before. The next one has the same host id and the same etcd.
 */
import assert from 'node:assert/strict';
import type { Lifecycle } from '../../bench/engine/churn.ts';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from './eventually.ts';
import { assertOnlyDeadDeleted, ended, fromEngine, knownOf, knownOfLives, startHost } from './host.ts';

export interface Killed {
  readonly lifecycles: number;
  /** That had keys at the end, those from before the first kill among them. */
  readonly running: number;
  readonly changes: number;
}

/** Changes in etcd that each sees before it is killed, in turn: the claim, the first transactions, many. */
const moments = [1, 10, 60];

/** Rejects unless no key of a running container was deleted at any time, and etcd is exact in the end. */
export async function killOverAndOver(kills: number): Promise<Killed> {
  await using engine = await forkEngine({ containers: 30 });
  // None of the leases may run out, however slow the machine starts a process.
  await using host = await startHost({ source: fromEngine(engine), ttl: 120 });
  const { recorder } = host;
  const first = knownOf(await engine.snapshot());
  let isOver = false;
  const churned = (async () => {
    const lives: Lifecycle[] = [];
    while (!isOver) {
      lives.push(...(await engine.churn({ rate: 60, seconds: 2, lifetimeMs: 400, survivors: 0.02 })).lifecycles);
    }
    return lives;
  })();
  // A failure of the loop below ends the engine, and so this. The test has to report the first of the two.
  churned.catch(() => {});
  for (let kill = 0; kill < kills; kill++) {
    const count = recorder.changes.length + (moments[kill % moments.length] ?? 0);
    await eventually(() => assert.ok(recorder.changes.length >= count, 'Not yet'), { everyMs: 5 });
    host.discover.signal('SIGKILL');
    assert.deepEqual(await ended(host.discover), { code: null, signal: 'SIGKILL' });
    await host.launch([], { wait: false });
  }
  isOver = true;
  const lives = await churned;
  await host.converged(new Map([...first, ...knownOfLives(lives)]));
  assertOnlyDeadDeleted(recorder.changes, lives);
  const running = (await engine.snapshot()).length;
  return { lifecycles: lives.length, running, changes: recorder.changes.length };
}
