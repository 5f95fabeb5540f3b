/**
 * The engine answers, and what it says is no answer: errors, a proxy's page, half of a document, none
 * of it. An error is not an absence, so nothing is deleted, and nothing invented.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import type { AnswerFault } from '../../bench/engine/faults.ts';
import { assertOnlyDeadDeleted, fromEngine, type Host, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const answers: readonly (readonly [on: 'list' | 'inspect', name: string, answer: Omit<AnswerFault, 'on'>])[] = [
  ['list', 'status 500', { body: 'message' }],
  ['list', "a proxy's page with status 200", { body: 'html', status: 200 }],
  ['list', 'half of the JSON', { body: 'garbage' }],
  ['list', 'an empty body', { body: 'empty' }],
  ['list', 'a body that is cut', { body: 'torn' }],
  ['inspect', 'status 500 half of the time', { body: 'message', fraction: 0.5 }],
  ['inspect', "a proxy's page with status 503", { body: 'html' }],
  ['inspect', "a proxy's page with status 404", { body: 'html', status: 404 }],
  ['inspect', 'half of the JSON', { body: 'garbage' }],
  ['inspect', 'an empty body', { body: 'empty' }],
  ['inspect', 'a body that is cut', { body: 'torn' }],
];

describe('answers', { skip: needs('etcd', 'etcdctl') }, () => {
  let engine: EngineHandle;
  let host: Host;
  /** Every container there has been. */
  let known: ReturnType<typeof knownOf>;
  before(async () => {
    engine = await forkEngine({ containers: 10 });
    host = await startHost({ source: fromEngine(engine), args: ['--resync', '1'] });
    known = knownOf(await engine.snapshot());
  });
  after(async () => {
    await host[Symbol.asyncDispose]();
    await engine.close();
  });

  for (const [on, name, answer] of amount(
    answers.filter((_, index) => index % 2 === 0),
    answers,
  )) {
    test(`nothing that runs is deleted while ${on} gives ${name}, and all is right after it (simulated engine, real etcd)`, async () => {
      const [changes, lines] = [host.recorder.changes.length, host.discover.logs.length];
      await engine.setFaults({ answers: [{ on, ...answer }] });
      const churned = engine.churn({ rate: 20, seconds: 2, lifetimeMs: 500, survivors: 0.2 });
      await engine.cutEvents(0);
      const { lifecycles } = await churned;
      await engine.setFaults({ answers: [] });
      known = new Map([...known, ...knownOfLives(lifecycles)]);
      await host.converged(known);
      assertOnlyDeadDeleted(host.recorder.changes.slice(changes), lifecycles);
      assert.deepEqual(
        host.discover.logs.slice(lines).filter((line) => line.level === 'error'),
        [],
      );
    });
  }
});
