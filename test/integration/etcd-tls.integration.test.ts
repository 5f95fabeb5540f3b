/** TLS to etcd, both ways, with a certificate authority made for the occasion. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { type Certificate, createAuthority } from '../helpers/certificates.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

// As it is built, because only there an etcd can be named by its address under every Node.
const { DiscoverClient }: typeof import('../../src/client/index.ts') = await import(
  new URL('../../dist/client/index.js', import.meta.url).href
);

describe('TLS to etcd', { skip: needs('etcd', 'etcdctl', 'openssl'), concurrency: 3 }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-tls-'));
  const authority = createAuthority(directory, 'ca');
  const stranger = createAuthority(directory, 'stranger');
  const here = 'DNS:localhost,IP:127.0.0.1';
  const server = authority.sign('server', { names: here });
  const client = authority.sign('client');
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine({ containers: 5 });
  });
  after(async () => {
    await engine?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** The helpers go on speaking plainly to a port of their own; discover is given the other. */
  async function startSecured(
    host: string,
    args: readonly string[],
    certificate = server,
    on = engine,
  ): Promise<Host & { readonly secure: string }> {
    const [plain, secure] = [await freePort(), await freePort()];
    const urls = `http://127.0.0.1:${plain},https://127.0.0.1:${secure}`;
    const certificates = ['--cert-file', certificate.cert, '--key-file', certificate.key];
    const clients = ['--client-cert-auth', '--trusted-ca-file', authority.ca];
    const etcdOptions = { port: plain, args: ['--listen-client-urls', urls, ...certificates, ...clients] };
    const endpoints = `https://${host}:${secure}`;
    const started = await startHost({ source: fromEngine(on), etcdOptions, endpoints, args, idle: true });
    return Object.assign(started, { secure: endpoints });
  }
  const tls = (ca: string, shown?: Certificate): string[] => [
    ...['--etcd:tls:ca', ca],
    ...(shown ? ['--etcd:tls:cert', shown.cert, '--etcd:tls:key', shown.key] : []),
  ];

  for (const address of amount(['127.0.0.1'], ['127.0.0.1', 'localhost'])) {
    test(`keys are published and read over TLS with certificates on both sides, at ${address} (simulated engine, real etcd)`, async () => {
      // Of its own, because others look at what changes meanwhile.
      await using own = await forkEngine({ containers: 5 });
      await using host = await startSecured(address, tls(authority.ca, client), server, own);
      await host.launch();
      await host.converged();
      assert.equal((await host.held()).size, 10);
      const files = { ca: authority.ca, ...client };
      await using reader = new DiscoverClient({ endpoints: [host.secure], tls: files });
      const updates = reader.watch('later');
      await updates.next();
      assert.equal((await reader.services()).size, 6); // a neighbour's as well
      const count = await host.mark();
      await host.etcd.kill();
      await host.etcd.restart();
      await host.converged();
      assert.deepEqual(await host.changesSince(count), []);
      const later = { env: ['DISCOVER=later:80'], ports: [{ container: '80/tcp' }], autoRemove: true };
      const ids = await own.run([later]);
      assert.equal((await updates.next()).value?.added.length, 1);
      await own.apply('stop', ids);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    });
  }

  test('all that is written is JSON, also where etcd is named by its address (simulated engine, real etcd)', async () => {
    await using host = await startSecured('127.0.0.1', tls(authority.ca, client));
    await host.launch();
    await host.converged();
    await host.terminate();
    // Node likes to warn of such names in plain text.
    assert.equal(host.discover.output.trimEnd().split('\n').length, host.discover.logs.length, host.discover.output);
  });

  test('a certificate whose common name is a user of etcd is enough to log in (simulated engine, real etcd)', async () => {
    const asRoot = '--user=root:root-secret';
    await using host = await startSecured('localhost', tls(authority.ca, client));
    for (const words of [
      ['user', 'add', 'root:root-secret'],
      ['user', 'grant-role', 'root', 'root'],
      ['role', 'add', 'publisher'],
      ['role', 'grant-permission', 'publisher', '--prefix=true', 'readwrite', '/discover/'],
      ['user', 'add', 'client', '--no-password'],
      ['auth', 'enable'],
    ]) {
      await host.etcd.ctl(...words);
    }
    // It is by that name: as long as the user has no role, it may do nothing.
    const discover = await host.launch([], { wait: false });
    await discover.waitForLog(({ error }) => /permission denied/.test(String(error)));
    await host.etcd.ctl(asRoot, 'user', 'grant-role', 'client', 'publisher');
    await discover.waitForLog(({ msg }) => msg === 'started');
    const keys = () => host.etcd.ctl(asRoot, 'get', '--prefix', '--keys-only', '/discover/host/h1/');
    await eventually(async () => assert.equal((await keys()).match(/\S+/g)?.length, 5));
  });

  const refusals: readonly {
    readonly name: string;
    readonly args: readonly string[];
    readonly said: RegExp;
    readonly server?: Certificate;
    /** Where the server is asked; default localhost. */
    readonly at?: string;
  }[] = [
    { name: 'a server of another authority', args: tls(stranger.ca, client), said: /not signed by etcd\.tls\.ca/ },
    { name: 'a server of a private authority that nobody named', args: [], said: /not signed by etcd\.tls\.ca/ },
    {
      name: 'a server whose certificate has expired',
      args: tls(authority.ca, client),
      server: authority.sign('expired', { names: here, days: -1 }),
      said: /certificate of the server at etcd\.endpoints is not valid today/,
    },
    {
      name: 'a server whose certificate is for another name',
      args: tls(authority.ca, client),
      server: authority.sign('elsewhere', { names: 'DNS:elsewhere' }),
      said: /for another name than etcd\.endpoints has/,
    },
    {
      name: 'a certificate of another authority',
      args: tls(authority.ca, stranger.sign('nobody')),
      said: /server does not accept etcd\.tls\.cert/,
    },
    {
      name: 'a server whose certificate is not for the address it is asked at',
      args: tls(authority.ca, client),
      said: /is for another name than etcd\.endpoints has/,
      server: authority.sign('unaddressed', { names: 'DNS:localhost' }),
      at: '127.0.0.1',
    },
    {
      name: 'a certificate that has expired',
      args: tls(authority.ca, authority.sign('past', { days: -1 })),
      said: /server does not accept etcd\.tls\.cert/,
    },
    { name: 'no certificate where one is asked for', args: tls(authority.ca), said: /etcd\.tls\.cert, or misses it/ },
  ];
  for (const { name, args, said, server: shown = server, at = 'localhost' } of amount(refusals.slice(1, 3), refusals)) {
    test(`nothing is published to or with ${name}, the option is named and discover goes on trying (simulated engine, real etcd)`, async () => {
      await using host = await startSecured(at, [], shown);
      const discover = await host.launch(args, { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'etcd unavailable');
      assert.equal(warning.level, 'warn');
      assert.match(String(warning.error), said);
      await host.assertGone();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      assert.match(discover.output, /"msg":"stopped"/);
      if (shown !== server) return;
      await host.launch(tls(authority.ca, client));
      await host.converged();
    });
  }

  test('a server without TLS is told nothing in plain, however often it is tried (simulated engine, no etcd)', async () => {
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
      const endpoints = `https://localhost:${(listener.address() as net.AddressInfo).port}`;
      await using host = await startHost({ source: fromEngine(engine), endpoints, idle: true });
      const discover = await host.launch(tls(authority.ca, client), { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'etcd unavailable');
      assert.match(String(warning.error), /server at etcd\.endpoints does not speak TLS/);
      await eventually(() => assert.ok(begun.length >= 3, 'Not yet'));
      for (const bytes of begun) assert.equal(bytes[0], 0x16, `Not a handshake: ${bytes.toString('latin1')}`);
    } finally {
      listener.close();
    }
  });
});
