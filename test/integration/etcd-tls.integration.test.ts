/** TLS to etcd, both ways, with a certificate authority made for the occasion. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs, requireCommand } from '../helpers/run.ts';

const run = promisify(execFile);

describe('TLS to etcd', { skip: needs('etcd', 'etcdctl', 'openssl') }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-tls-'));
  const file = (name: string): string => path.join(directory, name);
  let engine: EngineHandle;
  before(async () => {
    const openssl = (...args: readonly string[]): Promise<unknown> => run(requireCommand('openssl'), args);
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    for (const ca of ['ca', 'stranger']) {
      const files = ['-keyout', file(`${ca}.key`), '-out', file(`${ca}.pem`)];
      await openssl('req', '-x509', ...key, '-days', '2', '-subj', `/CN=${ca}`, ...files);
    }
    const sign = async (name: string, ca: string, extensions: string): Promise<void> => {
      const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.csr`)];
      await openssl('req', ...key, '-subj', `/CN=${name}`, ...files);
      writeFileSync(file(`${name}.ext`), extensions);
      const issuer = ['-CA', file(`${ca}.pem`), '-CAkey', file(`${ca}.key`), '-CAcreateserial'];
      const out = ['-in', file(`${name}.csr`), '-out', file(`${name}.pem`), '-extfile', file(`${name}.ext`)];
      await openssl('x509', '-req', '-days', '2', ...issuer, ...out);
    };
    await sign('server', 'ca', 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth');
    await sign('client', 'ca', 'extendedKeyUsage=clientAuth');
    await sign('nobody', 'stranger', 'extendedKeyUsage=clientAuth');
    engine = await forkEngine({ containers: 5 });
  });
  after(async () => {
    await engine?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** The helpers go on speaking plainly to a port of their own; discover is given the other. */
  async function startSecured(host: string, args: readonly string[]): Promise<Host> {
    const [plain, secure] = [await freePort(), await freePort()];
    const urls = `http://127.0.0.1:${plain},https://127.0.0.1:${secure}`;
    const certificates = ['--cert-file', file('server.pem'), '--key-file', file('server.key')];
    const clients = ['--client-cert-auth', '--trusted-ca-file', file('ca.pem')];
    const etcdOptions = { port: plain, args: ['--listen-client-urls', urls, ...certificates, ...clients] };
    const endpoints = `https://${host}:${secure}`;
    return startHost({ source: fromEngine(engine), etcdOptions, endpoints, args, idle: true });
  }
  const tls = (ca: string, name: string): string[] => [
    ...['--etcd:tls:ca', file(`${ca}.pem`), '--etcd:tls:cert', file(`${name}.pem`)],
    ...['--etcd:tls:key', file(`${name}.key`)],
  ];

  for (const address of ['localhost', '127.0.0.1']) {
    test(`keys are published over TLS with certificates on both sides, at ${address} (simulated engine, real etcd)`, async () => {
      await using host = await startSecured(address, tls('ca', 'client'));
      await host.launch();
      await host.converged();
      assert.equal((await host.held()).size, 10);
      const count = host.recorder.changes.length;
      await host.etcd.kill();
      await host.etcd.restart();
      await host.converged();
      assert.deepEqual(await host.changesSince(count), []);
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
    });
  }

  test('all that is written is JSON, also where etcd is named by its address (simulated engine, real etcd)', async () => {
    await using host = await startSecured('127.0.0.1', tls('ca', 'client'));
    await host.launch();
    await host.converged();
    await host.terminate();
    // Node likes to warn of such names in plain text.
    assert.equal(host.discover.output.trimEnd().split('\n').length, host.discover.logs.length, host.discover.output);
  });

  const refusals = {
    'a server of another authority': tls('stranger', 'client'),
    'a certificate of another authority': tls('ca', 'nobody'),
  };
  for (const [name, args] of Object.entries(refusals)) {
    test(`nothing is published to or with ${name}, and discover goes on trying (simulated engine, real etcd)`, async () => {
      await using host = await startSecured('localhost', []);
      const discover = await host.launch(args, { wait: false });
      const warning = await discover.waitForLog((line) => line.msg === 'etcd unavailable');
      assert.equal(warning.level, 'warn');
      await host.assertGone();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      await host.launch(tls('ca', 'client'));
      await host.converged();
    });
  }
});
