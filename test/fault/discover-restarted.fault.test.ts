/**
 * discover restarted, killed and upgraded: consumers see nothing of it as long as the containers
 * stay as they are, and what they did meanwhile is made up for and nothing else.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { ended, fromDockerd, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('with a real dockerd', {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
    for (const port of [80, 81, 82]) {
      await dockerd.run({ env: { DISCOVER: `web:${port},all:80,all:81` }, ports: [port, 80, 81].map(String) });
    }
  });
  after(() => dockerd.close());

  for (const signal of amount(['SIGKILL'] as const, ['SIGTERM', 'SIGKILL', 'SIGINT'] as const)) {
    test(`a discover that is started again after ${signal} writes no key of a service or record (real dockerd, real etcd)`, async () => {
      await using host = await startHost({ source: fromDockerd(dockerd) });
      await host.converged();
      const count = host.recorder.changes.length;
      const { length: keys } = [...(await host.held())];
      assert.ok(keys > 0);
      host.discover.signal(signal);
      const exit = await ended(host.discover);
      assert.deepEqual(exit, signal === 'SIGKILL' ? { code: null, signal } : { code: 0, signal: null });
      await host.launch();
      await host.converged();
      assert.deepEqual(await host.changesSince(count), []);
    });
  }

  testInFull(
    'an upgrade to another version writes no key of a service or record (real dockerd, real etcd)',
    async () => {
      const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-upgrade-'));
      try {
        cpSync(path.join(root, 'dist'), path.join(directory, 'dist'), { recursive: true });
        symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'));
        const about = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as object;
        writeFileSync(path.join(directory, 'package.json'), JSON.stringify({ ...about, version: '99.0.0' }));

        await using host = await startHost({ source: fromDockerd(dockerd) });
        await host.converged();
        const count = host.recorder.changes.length;
        assert.deepEqual(await host.terminate(), { code: 0, signal: null });
        await host.launch([], { script: path.join(directory, 'dist/cli.js') });
        await host.converged();
        assert.match(await host.etcd.ctl('get', '/discover/owner/h1'), /"version":"99\.0\.0"/);
        assert.deepEqual(await host.changesSince(count), []);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  );

  testInFull(
    'what changed while discover was away is made up for, and only that (real dockerd, real etcd)',
    async () => {
      await using host = await startHost({ source: fromDockerd(dockerd), ttl: 120 });
      const ends = await dockerd.run({ env: { DISCOVER: 'ends:80' }, ports: [80] });
      const restarts = await dockerd.run({ env: { DISCOVER: 'restarts:80' }, ports: [80] });
      await host.converged();
      const count = host.recorder.changes.length;
      host.discover.signal('SIGKILL');
      await ended(host.discover);
      const begins = await dockerd.run({ env: { DISCOVER: 'begins:80' }, ports: [80] });
      await dockerd.docker('rm', '--force', ends);
      await dockerd.docker('restart', restarts);
      await host.launch();
      await host.converged();
      const changes = (await host.changesSince(count)).map(({ kind, key }) => `${kind} ${key}`);
      const [a, b, c] = [begins, ends, restarts].map((id) => id.slice(0, 12));
      const wanted = [
        `put /discover/service/begins/default/h1/${a}`,
        `put /discover/host/h1/${a}`,
        `delete /discover/service/ends/default/h1/${b}`,
        `delete /discover/host/h1/${b}`,
        `put /discover/service/restarts/default/h1/${c}`,
      ];
      assert.deepEqual(changes.sort(), wanted.sort());
      await dockerd.docker('rm', '--force', begins, restarts);
      await host.converged();
    },
  );
});
