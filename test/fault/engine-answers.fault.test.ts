/**
 * The engine answers, and what it says is no answer: errors, a proxy's page, half of a document, none
 * of it. An error is not an absence, so nothing is deleted, and nothing invented.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import type { AnswerFault } from '../../bench/engine/faults.ts';
import { assertOnlyDeadDeleted, fromEngine, knownOf, knownOfLives, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

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

describe('answers', { skip: needs('etcd', 'etcdctl'), concurrency: 4 }, () => {
  for (const [on, name, answer] of answers) {
    test(`nothing that runs is deleted while ${on} gives ${name}, and all is right after it (simulated engine, real etcd)`, async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startHost({ source: fromEngine(engine), args: ['--resync', '1'] });
      await host.converged();
      const first = knownOf(await engine.snapshot());
      await engine.setFaults({ answers: [{ on, ...answer }] });
      const churned = engine.churn({ rate: 20, seconds: 5, lifetimeMs: 500, survivors: 0.2 });
      await engine.cutEvents(0);
      const { lifecycles } = await churned;
      await engine.setFaults({ answers: [] });
      await host.converged(new Map([...first, ...knownOfLives(lifecycles)]));
      assertOnlyDeadDeleted(host.recorder.changes, lifecycles);
      assert.deepEqual(
        host.discover.logs.filter((line) => line.level === 'error'),
        [],
      );
    });
  }
});
