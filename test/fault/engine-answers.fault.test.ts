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

const answers: Readonly<Record<string, Omit<AnswerFault, 'on'>>> = {
  'status 500': { body: 'message' },
  "a proxy's page": { body: 'html' },
  "a proxy's 404": { body: 'html', status: 404 },
  "a proxy's page with status 200": { body: 'html', status: 200 },
  'half of the JSON': { body: 'garbage' },
  'an empty body': { body: 'empty' },
  'a body that is cut': { body: 'torn' },
  'an error half of the time': { body: 'message', status: 503, fraction: 0.5 },
};

describe('answers', { skip: needs('etcd', 'etcdctl'), concurrency: 4 }, () => {
  for (const on of ['list', 'inspect'] as const) {
    for (const [name, answer] of Object.entries(answers)) {
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
  }
});
