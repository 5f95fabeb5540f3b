/** TLS to the engine, both ways: a real dockerd that asks for certificates, on a port of loopback. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { type Certificate, createAuthority } from '../helpers/certificates.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromDockerd, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const skip = needs('dockerd', 'docker', 'busybox', 'etcd', 'etcdctl', 'openssl', 'root');

describe('TLS to the engine', { skip }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-tls-'));
  const authority = createAuthority(directory, 'ca');
  const stranger = createAuthority(directory, 'stranger');
  const server = authority.sign('server', { names: 'DNS:localhost' });
  const client = authority.sign('client');
  let dockerd: Dockerd;
  let port: number;
  before(async () => {
    port = await freePort();
    const files = [`--tlscacert=${authority.ca}`, `--tlscert=${server.cert}`, `--tlskey=${server.key}`];
    dockerd = await startDockerd({ args: [`--host=tcp://127.0.0.1:${port}`, '--tlsverify', ...files] });
    await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
  });
  after(async () => {
    await dockerd?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const at = (host: string, number: number): string[] => [
    ...['--docker:socketPath', 'false', '--docker:host', host, '--docker:port', String(number)],
  ];
  const files = (ca: string, shown?: Certificate): string[] => [
    ...['--docker:tls:ca', ca],
    ...(shown ? ['--docker:tls:cert', shown.cert, '--docker:tls:key', shown.key] : []),
  ];

  test('what runs is published over TLS with certificates on both sides, lists, events and inspections (real dockerd, real etcd)', async () => {
    const args = [...at('localhost', port), ...files(authority.ca, client)];
    await using host = await startHost({ source: fromDockerd(dockerd), args });
    await host.converged();
    const id = await dockerd.run({ env: { DISCOVER: 'other:80' }, ports: [80] });
    await host.converged();
    assert.equal((await host.held()).size, 4);
    await dockerd.docker('rm', '--force', id);
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  const refusals: readonly (readonly [name: string, host: string, args: readonly string[], said: RegExp])[] = [
    [
      'a server of another authority',
      'localhost',
      files(stranger.ca, client),
      /certificate of the server is not signed by docker\.tls\.ca/,
    ],
    [
      'a server whose certificate is for another name',
      '127.0.0.1',
      files(authority.ca, client),
      /for another name than docker\.host has/,
    ],
    [
      'a certificate of another authority',
      'localhost',
      files(authority.ca, stranger.sign('nobody')),
      /server does not accept docker\.tls\.cert/,
    ],
    ['no certificate where one is asked for', 'localhost', files(authority.ca), /docker\.tls\.cert, or misses it/],
  ];
  for (const [name, address, args, said] of amount(refusals.slice(1, 2), refusals)) {
    test(`nothing is asked of or with ${name}, and the option is named (real dockerd, real etcd)`, async () => {
      await using host = await startHost({ source: fromDockerd(dockerd), args: at(address, port), idle: true });
      const discover = await host.launch(args, { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'docker unavailable');
      assert.match(String(warning.error), said);
      assert.deepEqual([...(await host.held())], []);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    });
  }

  test('nothing is asked of a server whose certificate has expired (TLS of our own before a real dockerd, real etcd)', async () => {
    const expired = authority.sign('expired', { names: 'DNS:localhost', days: -1 });
    const options = { cert: readFileSync(expired.cert), key: readFileSync(expired.key) };
    const asked: string[] = [];
    const front = tls.createServer(options, (socket) => {
      socket.on('error', () => {}).on('data', (bytes) => asked.push(bytes.toString('latin1')));
    });
    front.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    try {
      const args = [...at('localhost', (front.address() as net.AddressInfo).port), ...files(authority.ca, client)];
      await using host = await startHost({ source: fromDockerd(dockerd), args, idle: true });
      const discover = await host.launch([], { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'docker unavailable');
      assert.match(String(warning.error), /certificate of the server at docker\.host is not valid today/);
      assert.deepEqual(asked, []);
    } finally {
      front.close();
    }
  });

  test('a server without TLS is told nothing in plain, however often it is tried (no engine, real etcd)', async () => {
    const begun: Buffer[] = [];
    const listener = net.createServer((socket) => {
      socket
        .on('error', () => {})
        .once('data', (bytes) => {
          begun.push(bytes);
          socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
        });
    });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    try {
      const args = [...at('localhost', (listener.address() as net.AddressInfo).port), ...files(authority.ca, client)];
      await using host = await startHost({ source: fromDockerd(dockerd), args, idle: true });
      const discover = await host.launch([], { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'docker unavailable');
      assert.match(String(warning.error), /server at docker\.host does not speak TLS/);
      await eventually(() => assert.ok(begun.length >= 3, 'Not yet'));
      for (const bytes of begun) assert.equal(bytes[0], 0x16, `Not a handshake: ${bytes.toString('latin1')}`);
    } finally {
      listener.close();
    }
  });
});
