/** What discover has to be allowed to do on its host: open a socket, and nothing that only root may. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { forkEngine } from '../../bench/engine/client.ts';
import { ended, fromEngine, startHost } from '../helpers/host.ts';
import { needs, runDiscover } from '../helpers/run.ts';

const nobody = 65_534;
const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Node, the program and its packages, where every user may read them: a clone may lie in a folder of root's, and be made with a
 * umask that keeps it to root.
 */
function readableCopy(): { readonly directory: string; readonly program: readonly [string, string] } {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-program-'));
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, { dev?: true; devOptional?: true; peer?: true }>>;
  };
  const packages = Object.entries(lock.packages)
    .filter(([name, { dev, devOptional, peer }]) => name !== '' && !(dev || devOptional || peer))
    .map(([name]) => name)
    // One for another machine is not installed.
    .filter((name) => existsSync(path.join(root, name)));
  for (const file of ['package.json', 'dist', ...packages]) {
    cpSync(path.join(root, file), path.join(directory, file), { recursive: true });
  }
  const node = path.join(directory, 'node');
  copyFileSync(process.execPath, node);
  execFileSync('chmod', ['-R', 'a+rX', directory]);
  return { directory, program: [node, path.join(directory, 'dist/cli.js')] };
}

describe('an ordinary user', { skip: needs('etcd', 'etcdctl', 'root') }, () => {
  let copy: ReturnType<typeof readableCopy>;
  before(() => {
    copy = readableCopy();
  });
  after(() => rmSync(copy.directory, { recursive: true, force: true }));

  test('of the group of the socket is enough, without any capability, also to take over from root (simulated engine, real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-user-'));
    chmodSync(directory, 0o711);
    try {
      await using engine = await forkEngine({ socketPath: path.join(directory, 'docker.sock'), containers: 3 });
      chownSync(engine.socketPath, 0, nobody);
      chmodSync(engine.socketPath, 0o660);
      await using host = await startHost({ source: fromEngine(engine), idle: true });
      const asRoot = await host.launch();
      await host.converged();
      asRoot.signal('SIGKILL');
      await asRoot.exit;
      const count = await host.mark();

      const { pid } = await host.launch([], { user: nobody, program: copy.program });
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
      assert.match(status, /^CapEff:\t0+$/m);
      await host.converged();
      assert.deepEqual(await host.changesSince(count), []);
      await engine.churn({ rate: 30, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
      await host.converged();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('who may not read the key is told so, with the option, and nothing is tried without it (nothing but discover is real)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-user-'));
    chmodSync(directory, 0o711);
    try {
      const passwordFile = path.join(directory, 'password');
      writeFileSync(passwordFile, 'its-secret', { mode: 0o600 });
      const args = ['--etcd:username', 'discover', '--etcd:passwordFile', passwordFile, '--etcd:tls:key', passwordFile];
      const options = { user: nobody, program: copy.program };
      await using running = runDiscover([...args, '--host:ip', '10.0.0.5', '--host:id', 'h1'], options);
      assert.deepEqual(await ended(running), { code: 78, signal: null });
      for (const option of ['etcd\\.passwordFile', 'etcd\\.tls\\.key']) {
        assert.match(running.output, new RegExp(`${option} .*must be a file that can be read, got ".*": EACCES`));
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
