/**
 * Answers that are older than the events that come with them: of the list, which is asked for after
 * the events were subscribed to, and of an inspection. What happened between is neither missed nor
 * overruled.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const web = { env: ['DISCOVER=web:8080'], ports: [{ container: '8080/tcp' }] };

describe('answers older than events', { skip: needs('etcd', 'etcdctl'), concurrency: 3 }, () => {
  test('what starts or ends after the list was taken and before it arrives is right in etcd (simulated engine, real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-list-'));
    try {
      await using engine = await forkEngine();
      const socketPath = path.join(directory, 's');
      await using proxy = await startProxy({ to: engine.socketPath, listen: socketPath });
      const args = ['--resync', '86400'];
      await using host = await startHost({ source: fromEngine(engine), socketPath, args, idle: true });
      const [stays = '', ends = '', restarts = ''] = await engine.run([web, web, web]);

      // The engine takes its list a moment after it was asked for, so that the proxy holds what it answers.
      await engine.setFaults({ listDelayMs: 500 });
      await host.launch([], { wait: false });
      await eventually(
        () =>
          assert.ok(
            proxy.log.some((seen) => seen.path.includes('/containers/json?')),
            'Not yet',
          ),
        {
          everyMs: 5,
        },
      );
      proxy.toClient.pause();
      // Asked for later and answered: so was the other.
      assert.match(await askFor('/containers/json', engine.socketPath), new RegExp(`${ends}.*${stays}`));
      const [starts = ''] = await engine.run([web]);
      await engine.apply('stop', [ends]);
      await engine.apply('restart', [restarts]);
      proxy.toClient.resume();

      await host.converged();
      const shortIds = [...(await host.held()).keys()].map((key) => key.slice(-12));
      assert.deepEqual(new Set(shortIds), new Set([stays, restarts, starts].map((id) => id.slice(0, 12))));
      const puts = (await host.changesSince(0)).filter(({ key }) => key.endsWith(ends.slice(0, 12)));
      assert.deepEqual(puts, [], 'What had ended was published');
      const { list } = await engine.counts();
      // On a busy machine discover itself stands still for a moment, says so and lists again.
      const wasStalled = host.discover.logs.some(({ msg }) => /stalled|unavailable|silent/.test(String(msg)));
      assert.ok(list === 2 || wasStalled, `${list} lists: one of discover, one of ours, and another has helped`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('what is told again at the start is looked at in the version that was agreed on (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine();
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    await engine.record(true);
    for (let starts = 0; starts < 5; starts++) {
      // Events of the last second come in one piece with the beginning of the stream.
      const running = (await engine.snapshot()).map(({ id }) => id);
      if (running.length > 0) await engine.apply('remove', running);
      await engine.run(Array.from({ length: 5 }, () => web));
      await host.launch();
      await host.converged();
      await host.terminate();
    }
    const inspected = (await engine.record(false)).filter((request) => request.includes('/containers/'));
    assert.ok(inspected.length >= 25);
    assert.deepEqual(
      inspected.filter((request) => !request.startsWith('GET /v1.41/containers/')),
      [],
    );
  });

  const changes: Readonly<Record<string, (engine: EngineHandle, id: string) => Promise<unknown>>> = {
    'lost its port': (engine, id) => engine.apply('disconnect', [id]),
    'got another port': async (engine, id) => {
      await engine.apply('disconnect', [id]);
      await engine.apply('connect', [id]);
    },
    'was restarted': (engine, id) => engine.apply('restart', [id]),
    ended: (engine, id) => engine.apply('stop', [id]),
  };
  for (const [name, change] of Object.entries(changes).slice(amount(2, 0))) {
    test(`an inspection answered after its container ${name} does not have the last word (simulated engine, real etcd)`, async (t) => {
      const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-list-'));
      try {
        await using engine = await forkEngine();
        const socketPath = path.join(directory, 's');
        await using proxy = await startProxy({ to: engine.socketPath, listen: socketPath });
        const args = ['--resync', '86400'];
        await using host = await startHost({ source: fromEngine(engine), socketPath, args });
        await engine.setFaults({ inspectDelayMs: 500 });
        const [id = ''] = await engine.run([web]);
        const inspect = `/containers/${id}/json`;
        await eventually(
          () =>
            assert.ok(
              proxy.log.some((seen) => seen.path.endsWith(inspect)),
              'Not yet',
            ),
          { everyMs: 5 },
        );
        proxy.toClient.delayMs = 2000; // of what comes from now on, until it is set back
        // Asked for later and answered: so was the other, which has seen the port.
        assert.match(await askFor(inspect, engine.socketPath), /"HostPort":"32768"/);
        const passed = proxy.toClient.bytes;
        proxy.toClient.delayMs = 0;
        await engine.setFaults({ inspectDelayMs: 0 });
        await change(engine, id);
        // An inspection is the only answer of this size: the old one is there.
        await eventually(() => assert.ok(proxy.toClient.bytes > passed + 4000, 'Not yet'));
        await engine.run([web]); // and by the time this one is published it was read
        await host.converged();
        if (name === 'ended') {
          const written = (await host.changesSince(0)).filter(({ key }) => key.endsWith(id.slice(0, 12)));
          assert.deepEqual(written, [], 'What had ended was published');
        }
        // On a machine that falls behind, events come late and a second list may have helped: then this run says less.
        const { list } = await engine.counts();
        if (list > 1) t.diagnostic(`${list} lists`);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
  }
});

async function askFor(path: string, socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path, agent: false }, (response) => {
      text(response).then(resolve, reject);
    });
    request.on('error', reject);
  });
}
