/**
 * Network namespaces: one in which a test file runs and which stands for a host, and others in which readers stand.
 *
 * A file that changes addresses, routes or forwarding must not do so to the machine. It runs itself again in a namespace of
 * its own, with all that it starts. A namespace ends with its last process, so nothing is left to remove.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { atExit, needs, requireCommand, typescript } from './run.ts';

const marker = 'DISCOVER_TEST_NAMESPACE';

/** True in the namespace. Else one test is defined, which runs the file there; it has the outcome of all tests in it. */
export function inOwnNamespace(name: string, url: string, ...parts: readonly string[]): boolean {
  if (process.env[marker] === '1') {
    ip('link', 'set', 'lo', 'up');
    return true;
  }
  void test(name, { skip: needs('ip', 'unshare', 'nsenter', 'root', ...parts) }, async () => {
    // The runner passes each on in two words.
    const patterns = process.execArgv.filter((_, at, all) =>
      [all[at - 1], all[at]].some((one) => one === '--test-name-pattern'),
    );
    const node = [process.execPath, ...typescript, ...patterns, '--test-reporter=spec', fileURLToPath(url)];
    const args = ['--net', ...node];
    const env: NodeJS.ProcessEnv = { ...process.env, [marker]: '1' };
    // Or the reporter would be that of a file below this one.
    delete env.NODE_TEST_CONTEXT;
    const child = spawn(requireCommand('unshare'), args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const forget = atExit(() => child.kill('SIGKILL'));
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const code = await new Promise((resolve) => child.once('close', resolve));
    forget();
    assert.equal(code, 0, output);
    if (process.env.SHOW === '1') process.stderr.write(output);
  });
  return false;
}

/** Runs `ip`, which has to succeed. */
export function ip(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(requireCommand('ip'), args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
  return stdout;
}

export type Dialled = { readonly answer: string } | { readonly failure: string };

/** A process in a namespace. */
export interface Station extends AsyncDisposable {
  /** Names its namespace: `ip link set <link> netns <pid>`. */
  readonly pid: number;
  ip(...args: readonly string[]): string;
  /** What the other side of a URL such as `tcp://10.0.0.5:80` says to a new connection, or to a datagram. */
  dial(url: string): Promise<Dialled>;
  /** Answers each connection and each datagram at this port with the text. */
  serve(port: number, text: string): Promise<void>;
}

const program = `
const net = require('node:net');
const dgram = require('node:dgram');
process.on('disconnect', () => process.exit());
const dialTcp = (host, port, done) => {
  const socket = net.connect({ host, port });
  let answer = '';
  socket.setTimeout(5000, () => { done({ failure: 'timed out' }); socket.destroy(); });
  socket.on('data', (data) => { answer += data; });
  socket.on('end', () => { done({ answer: answer.trim() }); socket.destroy(); });
  socket.on('error', ({ code }) => done({ failure: code }));
};
const dialUdp = (host, port, done) => {
  const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
  const finish = (result) => { clearTimeout(timer); done(result); socket.close(); };
  const timer = setTimeout(() => finish({ failure: 'timed out' }), 5000);
  socket.once('message', (data) => finish({ answer: String(data).trim() }));
  socket.once('error', ({ code }) => finish({ failure: code }));
  socket.connect(port, host, () => socket.send('?'));
};
process.on('message', ({ id, kind, host, port, text }) => {
  const done = (result) => process.connected && process.send({ id, result });
  if (kind === 'tcp') return dialTcp(host, port, done);
  if (kind === 'udp') return dialUdp(host, port, done);
  const datagrams = dgram.createSocket('udp6');
  datagrams.on('message', (_, from) => datagrams.send(text, from.port, from.address));
  net.createServer((socket) => socket.on('error', () => {}).end(text)).listen(port, '::', () => {
    datagrams.bind(port, () => done({ answer: '' }));
  });
});
process.send({ id: 0 });
`;

/** In the namespace of a process, such as that of a container; else in one of its own. */
export async function startStation(of?: number): Promise<Station> {
  const [command, ...args] = of === undefined ? ['unshare', '--net'] : ['nsenter', `--net=/proc/${of}/ns/net`];
  const child = spawn(requireCommand(command as string), [...args, process.execPath, '-e', program], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const forget = atExit(() => child.kill('SIGKILL'));
  const answers = new Map<number, (result: Dialled) => void>();
  child.on('message', ({ id, result }: { id: number; result: Dialled }) => answers.get(id)?.(result));
  await new Promise((resolve) => answers.set(0, resolve));
  let last = 0;
  const ask = (message: object): Promise<Dialled> =>
    new Promise((resolve) => {
      const id = ++last;
      answers.set(id, resolve);
      child.send({ id, ...message });
    });
  const pid = pidOf(child);
  const station: Station = {
    pid,
    ip: (...given) => {
      const { status, stdout, stderr } = spawnSync(
        requireCommand('nsenter'),
        [`--net=/proc/${pid}/ns/net`, requireCommand('ip'), ...given],
        { encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(`ip ${given.join(' ')}: ${stderr}`);
      return stdout;
    },
    dial: (url) => {
      const [, kind, v6, v4, port] = /^(tcp|udp):\/\/(?:\[(.*)\]|(.*)):(\d+)$/.exec(url) ?? [];
      return ask({ kind, host: v6 ?? v4, port: Number(port) });
    },
    serve: async (port, text) => {
      await ask({ kind: 'serve', port, text });
    },
    [Symbol.asyncDispose]: async () => {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await ended;
      forget();
    },
  };
  if (of === undefined) station.ip('link', 'set', 'lo', 'up');
  return station;
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('The station has not started');
  return pid;
}
