/**
 * `deploy/etcd.md` and the readers of `deploy/readers.md`, as they are printed: certificates, three members, users, the
 * configuration of a host, compaction, a member that is replaced, and readers in shell and Python that follow all of it.
 *
 * Only names, ports and folders differ: all three members are on loopback.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { block, root } from '../helpers/documents.ts';
import { scratchParent } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort } from '../helpers/host.ts';
import {
  atExit,
  cleanEnvironment,
  exitOf,
  killProcessesOf,
  needs,
  type Running,
  requireCommand,
  runDiscover,
  scratchDirectory,
} from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const document = 'deploy/etcd.md';
const members = ['etcd-1', 'etcd-2', 'etcd-3'] as const;
type Member = (typeof members)[number];
const image = { env: ['DISCOVER=web:80'], ports: [{ container: '80/tcp' }] };

describe('etcd from zero', {
  skip: needs('etcd', 'etcdctl', 'openssl', 'python3'),
  timeout: 300_000,
}, () => {
  const directory = scratchDirectory('zero', scratchParent());
  const running = new Map<string, ChildProcess>();
  const ports = new Map<Member, readonly [client: number, peer: number]>();
  let engine: EngineHandle;
  let discover: Running;

  /** What the document says of machines and folders, for this machine. */
  const here = (text: string): string => {
    let adapted = text.replaceAll('/etc/etcd/', `${directory}/`).replaceAll('/etc/discover/', `${directory}/`);
    for (const [name, [client, peer]] of ports)
      adapted = adapted
        .replaceAll(`https://${name}:2379`, `https://127.0.0.1:${client}`)
        .replaceAll(`https://${name}:2380`, `https://127.0.0.1:${peer}`);
    return adapted;
  };
  const configurationOf = (name: Member): string => {
    const [client, peer] = ports.get(name) ?? [];
    const lines = block(document, 'name: etcd-1').split('\n');
    const own = lines.map((line) => (line.startsWith('initial-cluster:') ? line : line.replaceAll('etcd-1', name)));
    return here(own.join('\n'))
      .replace('https://0.0.0.0:2379', `https://127.0.0.1:${client}`)
      .replace('https://0.0.0.0:2380', `https://127.0.0.1:${peer}`)
      .replace('/var/lib/etcd/default', path.join(directory, name));
  };
  const start = (name: Member, more = ''): void => {
    const file = path.join(directory, `${name}.yaml`);
    // The cheapest passwords that etcd allows, and elections in less than a second; the log names what it ignores.
    const fast = ['bcrypt-cost: 4', 'heartbeat-interval: 50', 'election-timeout: 500', more];
    writeFileSync(file, `${configurationOf(name)}\n${fast.join('\n')}\n`);
    mkdirSync(path.join(directory, name), { mode: 0o700, recursive: true });
    const arch = process.arch === 'x64' ? {} : { ETCD_UNSUPPORTED_ARCH: process.arch };
    const env = cleanEnvironment({ ETCD_CONFIG_FILE: file, ...arch });
    running.set(name, spawn(requireCommand('etcd'), [], { env, stdio: 'ignore' }));
  };
  const end = async (name: string): Promise<void> => {
    const child = running.get(name);
    child?.kill('SIGKILL');
    if (child) await exitOf(child);
    running.delete(name);
  };
  const environment = (user?: string): Record<string, string> =>
    cleanEnvironment({
      ETCDCTL_API: '3',
      ETCDCTL_CACERT: path.join(directory, 'ca.pem'),
      ETCDCTL_ENDPOINTS: members.map((name) => `https://127.0.0.1:${ports.get(name)?.[0]}`).join(','),
      ...(user === undefined ? {} : { ETCDCTL_USER: user }),
    });
  const shell = async (text: string, user?: string): Promise<string> => {
    const options = { cwd: directory, env: environment(user) };
    return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', here(text)], options)).stdout;
  };
  /** A program of `deploy/examples` that follows the service, and its last line. */
  const follow = (command: string): (() => string | undefined) => {
    const [, program = '', file = ''] = /^(\S+) (\S+) web default$/.exec(command) ?? [];
    const child = spawn(program, [path.join(root, file), 'web', 'default'], {
      env: environment('reader:reader-secret'),
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true, // the shell has children of its own
    });
    running.set(command, child);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    return () => output.split('\n').at(-2);
  };

  const erase = (): void => {
    for (const child of running.values()) child.kill('SIGKILL');
    killProcessesOf(directory, ['etcdctl', 'etcd']);
    rmSync(directory, { recursive: true, force: true });
  };
  const forget = atExit(erase);

  before(async () => {
    for (const name of members) ports.set(name, [await freePort(), await freePort()]);
    engine = await forkEngine({ containers: 0 });
  });
  after(async () => {
    await discover?.close();
    for (const [name, child] of running) {
      if (!name.startsWith('etcd-') && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      await end(name);
    }
    await engine?.[Symbol.asyncDispose]();
    erase();
    forget();
  });

  test('three members with certificates of their own are a healthy cluster (real etcd)', async () => {
    await shell(block(document, 'openssl req'));
    for (const name of members) start(name);
    const text = block(document, 'export ETCDCTL_API=3');
    await eventually(async () => assert.equal((await shell(text)).match(/\bhttps:\S+/g)?.length, 3));
  });

  test('the users have the rights that discover needs, and readers only read (simulated engine, real etcd)', async () => {
    await shell(block('.github/SECURITY.md', 'etcdctl role add'));
    await shell(block(document, 'etcdctl user add root'));
    await assert.rejects(shell('etcdctl get --prefix /'), /user name is empty|invalid/);
    await assert.rejects(shell('etcdctl put /discover/service/x y', 'reader:reader-secret'), /permission denied/);
    await assert.rejects(shell('etcdctl put /discover/owner/host-2 x', 'host-1:host-1-secret'), /permission denied/);

    const file = path.join(directory, 'config.json');
    writeFileSync(file, here(block(document, '{')));
    writeFileSync(path.join(directory, 'password'), 'host-1-secret\n', { mode: 0o600 });
    const args = ['--config', file, '--docker:socketPath', engine.socketPath, '--host:ip', '10.0.0.5'];
    discover = runDiscover(args);
    await discover.waitForLog(({ msg }) => msg === 'started');
    await using doctor = runDiscover(['doctor', ...args]);
    assert.deepEqual(await doctor.exit, { code: 0, signal: null }, doctor.output);
  });

  const last: (() => string | undefined)[] = [];
  /** So many are published, and both readers say the same. */
  const settled = (count: number): Promise<void> =>
    eventually(async () => {
      const text = await shell(
        'etcdctl get --prefix --print-value-only /discover/service/web/',
        'reader:reader-secret',
      );
      const wanted = text.trim().replaceAll('tcp://', '').split('\n').sort();
      assert.equal(wanted.filter((one) => one !== '').length, count);
      for (const line of last) assert.equal(line(), wanted.join(' '));
    });

  test('readers in shell and Python follow it, also through a compaction (simulated engine, real etcd)', async () => {
    const commands = block('deploy/readers.md', 'sh deploy/examples/reader.sh').split('\n');
    last.push(...commands.map(follow));
    assert.equal(last.length, 2);
    const [first = ''] = await engine.run([image, image]);
    await settled(2);
    await shell(block(document, 'revision='), 'root:root-secret');
    await engine.apply('stop', [first]);
    await settled(1);
  });

  testInFull('a lost member is replaced, and the readers go on (simulated engine, real etcd)', async () => {
    const list = await shell('etcdctl member list', 'root:root-secret');
    const [, id = ''] = /^(\w+), started, etcd-3,/m.exec(list) ?? [];
    await end('etcd-3');
    rmSync(path.join(directory, 'etcd-3'), { recursive: true });
    await shell(block(document, 'etcdctl member remove').replace('8e9e05c52164694d', id), 'root:root-secret');
    start('etcd-3', 'initial-cluster-state: existing');
    await engine.run([image]);
    await settled(2);
    await eventually(() => shell('etcdctl endpoint health', 'root:root-secret'));
  });
});
