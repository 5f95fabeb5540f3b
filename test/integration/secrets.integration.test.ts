/**
 * What discover is told and what it reads in passing stays with it: marked secrets in every place that holds
 * some, real parts and their faults, and then a search through all that came out.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { createAuthority } from '../helpers/certificates.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { ended, freePort } from '../helpers/host.ts';
import { needs, type Running, runDiscover } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const skip = needs('dockerd', 'docker', 'busybox', 'etcd', 'etcdctl', 'openssl', 'root');

/** Short, because an error of JSON.parse quotes ten characters on either side; nothing else would say them. */
const secret = {
  password: 'pQa1Zp',
  wrongPassword: 'wQb2Zw',
  environment: 'eQc3Ze',
  label: 'lQd4Zl',
  variable: 'vQe5Zv',
} as const;

type Tampering = 'none' | 'cut' | 'not JSON' | 'other types';

/** Each makes of a document one that cannot be used, with a secret at the place where it breaks. */
const tamperings: Readonly<Record<Tampering, (text: string) => string>> = {
  none: (text) => text,
  cut: (text) => text.slice(0, text.indexOf(secret.environment) + secret.environment.length),
  'not JSON': (text) => text.replaceAll(`${secret.environment}"`, `${secret.environment}",,`),
  'other types': (text) =>
    text
      .replace(/"Running":true/, `"Running":"${secret.environment}"`)
      .replace(/"Env":\[/, `"Env":"${secret.environment}","Was":[`)
      .replace(/"Ports":\{/, `"Ports":"${secret.label}","Had":{`),
};

/** Before the engine: hands on what is asked, and of inspections and events what the tampering leaves. */
async function startTamperer(to: string, listen: string) {
  let tampering: Tampering = 'none';
  let tampered = 0;
  const server = http.createServer(({ headers, method, url }, response) => {
    const asked = http.request({ socketPath: to, path: url, method, headers, agent: false }, (answer) => {
      if (tampering === 'none' || url?.includes('/events')) {
        response.writeHead(answer.statusCode ?? 500, answer.headers).flushHeaders();
        answer.pipe(response);
        return;
      }
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => {
        tampered++;
        const { 'content-length': _, 'transfer-encoding': __, ...kept } = answer.headers;
        response.writeHead(answer.statusCode ?? 500, kept).end(tamperings[tampering](text));
      });
    });
    asked.on('error', () => response.destroy()).end();
    response.on('close', () => asked.destroy());
  });
  await new Promise<void>((resolve) => server.listen(listen, resolve));
  return {
    set(next: Tampering) {
      tampering = next;
      tampered = 0;
    },
    get tampered() {
      return tampered;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('secrets', { skip }, () => {
  test('of etcd, TLS, containers and the environment are nowhere but where they belong, whatever goes wrong (real dockerd behind a front that tampers, real etcd with TLS and passwords)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-secrets-'));
    const file = (name: string): string => path.join(directory, name);
    try {
      const authority = createAuthority(directory, 'ca');
      const server = authority.sign('server', { names: 'DNS:localhost' });
      const client = authority.sign('client');
      const keyText = readFileSync(client.key, 'utf8').split('\n')[1] ?? '';
      assert.ok(keyText.length > 40);

      const [plain, secure] = [await freePort(), await freePort()];
      const urls = `http://127.0.0.1:${plain},https://127.0.0.1:${secure}`;
      const certificates = ['--cert-file', server.cert, '--key-file', server.key];
      const clients = ['--client-cert-auth', '--trusted-ca-file', authority.ca];
      const etcdArgs = ['--listen-client-urls', urls, ...certificates, ...clients];
      await using etcd = await startEtcd({ port: plain, args: etcdArgs });
      for (const words of [
        ['user', 'add', 'root:root-secret'],
        ['user', 'grant-role', 'root', 'root'],
        ['role', 'add', 'publisher'],
        ['role', 'grant-permission', 'publisher', '--prefix=true', 'readwrite', '/discover/'],
        ['user', 'add', `discover:${secret.password}`],
        ['user', 'grant-role', 'discover', 'publisher'],
        ['auth', 'enable'],
      ]) {
        await etcd.ctl(...words);
      }
      await using dockerd = await startDockerd();
      const socketPath = file('docker.sock');
      await using front = await startTamperer(dockerd.socketPath, socketPath);
      const container = (name: string) =>
        dockerd.run({
          env: { SECRET: secret.environment, DISCOVER: `${name}:80, slash/ed:80` },
          labels: { token: secret.label },
          ports: [80],
        });
      await container('visible');

      const outputs: string[] = [];
      const runs: Running[] = [];
      const tls = ['--etcd:tls:ca', authority.ca, '--etcd:tls:cert', client.cert, '--etcd:tls:key', client.key];
      const place = ['--docker:socketPath', socketPath, '--etcd:endpoints', `https://localhost:${secure}`];
      const host = ['--host:ip', '10.0.0.5', '--host:id', 'h1', '--etcd:ttl', '5', '--resync', '1', '--silly'];
      const passwordFile = file('password');
      const user = ['--etcd:username', 'discover', '--etcd:passwordFile', passwordFile];
      const env = { ETCD_PASWORD: secret.variable, SECRET: secret.variable };
      const launch = (args: readonly string[], more: Record<string, string> = {}): Running => {
        const nodeArgs = ['--trace-uncaught', '--trace-warnings'];
        const running = runDiscover(args, { env: { ...env, ...more }, nodeArgs });
        runs.push(running);
        return running;
      };
      const commandLines = ({ pid }: Running): void => {
        outputs.push(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), readFileSync(`/proc/${pid}/comm`, 'utf8'));
        for (const task of readdirSync(`/proc/${pid}/task`)) {
          outputs.push(readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8'));
        }
      };
      const held = () => etcd.ctl('--user=root:root-secret', '--command-timeout=30s', 'get', '--prefix', '');
      const stop = async (running: Running): Promise<void> => {
        running.signal('SIGUSR2');
        await running.waitForLog((line) => line.msg === 'state');
        running.signal('SIGTERM');
        assert.deepEqual(await ended(running), { code: 0, signal: null });
      };
      try {
        // The password is not the right one.
        writeFileSync(passwordFile, secret.wrongPassword);
        const refused = launch([...place, ...host, ...tls, ...user]);
        await refused.waitForLog((line) => /authentication failed/.test(String(line.error)));
        commandLines(refused);
        await stop(refused);

        // It is, and everything is as it should be; then the engine's documents are not.
        writeFileSync(passwordFile, `${secret.password}\n`);
        const running = launch([...place, ...host, ...tls, ...user]);
        await running.waitForLog((line) => line.msg === 'published');
        commandLines(running);
        outputs.push(await held());
        for (const tampering of ['cut', 'not JSON', 'other types'] as const) {
          front.set(tampering);
          const id = await container('hidden');
          const seen = running.logs.length;
          await eventually(() => {
            assert.ok(front.tampered > 3, 'Not yet');
            const said = running.logs.slice(seen).filter(({ container: of }) => of === id);
            assert.ok(said.length > 0, `Nothing is said of ${id}, whose document is ${tampering}`);
          });
          outputs.push(await held());
          front.set('none');
          await eventually(async () => assert.match(await held(), new RegExp(`/discover/host/h1/${id.slice(0, 12)}`)));
        }
        outputs.push(await held());
        await stop(running);

        // The password from the environment; certificates that are refused.
        const fromEnvironment = { DISCOVER_ETCD_USERNAME: 'discover', DISCOVER_ETCD_PASSWORD: secret.password };
        const foreign = createAuthority(directory, 'stranger').ca;
        const distrusting = launch([...place, ...host, '--etcd:tls:ca', foreign], fromEnvironment);
        await distrusting.waitForLog((line) => /etcd\.tls\.ca/.test(String(line.error)));
        commandLines(distrusting);
        await stop(distrusting);

        // All forms in which a configuration is shown, and mistakes in each place that may hold a secret.
        const etcdOptions = { username: 'discover', password: secret.password };
        writeFileSync(file('right.json'), JSON.stringify({ etcd: etcdOptions }));
        writeFileSync(file('wrong.json'), JSON.stringify({ etcd: { ...etcdOptions, password: [secret.password] } }));
        writeFileSync(file('odd.json'), JSON.stringify({ etcd: { pasword: secret.password, tls: secret.variable } }));
        writeFileSync(file('cut.json'), JSON.stringify({ etcd: etcdOptions }).replace('"}}', '\n"}}'));
        const tools = { ETCDCTL_USER: `discover:${secret.password}` };
        const url = `https://discover:${secret.password}@localhost:${secure}`;
        const shown: readonly (readonly [code: number, args: readonly string[], env?: Record<string, string>])[] = [
          [0, ['config', ...host, ...tls, ...user]],
          [0, ['config', ...host, '--output', 'json', ...tls, ...user]],
          [0, ['config', ...host], fromEnvironment],
          [0, ['config', ...host, '-o', 'json'], tools],
          [0, ['config', ...host, '--config', file('right.json')]],
          [0, ['config', '--schema'], fromEnvironment],
          [0, ['--help'], fromEnvironment],
          [78, [...host, '--config', file('wrong.json')]],
          [78, [...host, '--config', file('odd.json')]],
          [78, [...host, '--config', file('cut.json')]],
          [78, [...host], { DISCOVER_ETCD_ENDPOINTS: url }],
          [78, [...host], { ETCDCTL_ENDPOINTS: url }],
          [78, [...host], { DOCKER_HOST: `tcp://discover:${secret.password}@localhost:1` }],
          [78, [...host], { DISCOVER_ETCD_PASSWORD: secret.password }],
          [78, [...host], { DISCOVER_ETCD_PASWORD: secret.password, DISCOVER_SECRET: secret.variable }],
          [78, [...host, ...tls.slice(0, 4), '--etcd:tls:key', client.cert], fromEnvironment],
        ];
        for (const [code, args, more] of amount(
          shown.filter((_, index) => index % 2 === 1),
          shown,
        )) {
          const one = launch(args, more);
          assert.deepEqual(await ended(one), { code, signal: null }, `${args.join(' ')}:\n${one.output}`);
        }
        // Whoever types it has shown it already; it is refused, and not repeated.
        const typed = launch([...host, '--etcd:password', secret.password]);
        assert.equal((await ended(typed)).code, 78);
        assert.match(typed.output, /--etcd:password is refused/);
      } finally {
        for (const running of runs) await running.close();
      }

      const everything = [...outputs, ...runs.map(({ output }) => output)].join('\n');
      // That the search would find what is there: a name, a path, an entry that was refused.
      for (const said of ['/discover/service/visible/', '"visible"', 'slash/ed', passwordFile, 'etcd.tls.key']) {
        assert.ok(everything.includes(said), `${said} was not said, so the search proves nothing`);
      }
      for (const [name, text] of Object.entries({ ...secret, keyText })) {
        const base64 = Buffer.from(text).toString('base64').replace(/=+$/, '').slice(0, -2);
        for (const form of [text, base64, Buffer.from(text).toString('hex'), encodeURIComponent(text)]) {
          const at = everything.indexOf(form);
          assert.equal(at, -1, `${name} was said: ${everything.slice(Math.max(0, at - 300), at + 100)}`);
        }
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
