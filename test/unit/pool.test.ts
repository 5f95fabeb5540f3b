/** Threads of the pool: how many, when, and how busy they are said to be. Engine of a few lines; real threads. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { ContainerId } from '../../src/container/container.ts';
import type { Report } from '../../src/inspect/batch.ts';
import { busyShare, createInspectionPool, type InspectionPool } from '../../src/inspect/pool.ts';
import { eventually } from '../helpers/eventually.ts';

const idOf = (digit: string) => digit.repeat(64) as ContainerId;

async function withPool(
  workers: number,
  answer: http.RequestListener,
  use: (pool: InspectionPool) => Promise<void>,
): Promise<void> {
  const server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const endpoint = { kind: 'tcp', host: '127.0.0.1', port } as const;
  const host = { ip: '10.0.0.1' };
  const config = { workers, docker: { endpoint }, host, serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;
  const pool = createInspectionPool(config);
  try {
    await use(pool);
  } finally {
    await pool.close();
    server.closeAllConnections();
    server.close();
  }
}

test('a pool starts as many threads as are asked for, as the load asks for them', async () => {
  const held: http.ServerResponse[] = [];
  await withPool(
    3,
    (_, response) => void held.push(response),
    async (pool) => {
      assert.deepEqual([pool.slots, pool.usage.threads, pool.usage.threadsMax], [6, 1, 3]);
      const lists = Array.from({ length: pool.slots }, () => pool.list(''));
      await eventually(() => assert.equal(held.length, 6));
      assert.equal(pool.usage.threads, 3);
      for (const response of held) response.end('[]');
      assert.deepEqual(await Promise.all(lists), Array(6).fill([]));
    },
  );
});

test('the share of the time that a thread is busy is 0 to 1, from the first sample on', () => {
  const samples = [
    [{ idle: 0, active: 0 }, undefined, 0],
    [{ idle: 30, active: 10 }, undefined, 0.25],
    [{ idle: 40, active: 20 }, { idle: 30, active: 10 }, 0.5],
    [{ idle: 30, active: 10 }, { idle: 30, active: 10 }, 0],
    // The clocks of a thread that fell asleep between two samples.
    [{ idle: 45, active: 9 }, { idle: 30, active: 10 }, 0],
    [{ idle: 29, active: 12 }, { idle: 30, active: 10 }, 1],
  ] as const;
  for (const [load, last, share] of samples) assert.equal(busyShare(load, last), share);
});

test('a list that cannot be had is an error of the engine, with its words', async () => {
  await withPool(
    1,
    (_, response) => void response.writeHead(500).end('{"message":"no disk"}'),
    async (pool) => {
      await assert.rejects(pool.list(''), {
        code: 'DOCKER_UNAVAILABLE',
        message: 'Docker Engine: status 500: no disk',
      });
    },
  );
});

test('a document about another container than the one asked for counts as a failed inspection', async () => {
  const document = { State: { Running: true }, Config: { Env: [] } };
  await withPool(
    0,
    (request, response) => {
      const asked = /containers\/(\w+)\//.exec(request.url ?? '')?.[1];
      const Id = asked === idOf('a') ? idOf('b') : asked;
      response.end(JSON.stringify({ Id, ...document }));
    },
    async (pool) => {
      const kinds: Record<string, string> = {};
      const note = ({ id, inspection }: Report) => {
        kinds[id.slice(0, 1)] = inspection.kind;
      };
      pool.late.add((_task, report) => note(report));
      for (const report of await pool.inspect(1, '', [idOf('a'), idOf('c')])) note(report);
      await eventually(() => assert.deepEqual(kinds, { a: 'failed', c: 'running' }));
    },
  );
});
