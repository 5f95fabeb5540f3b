/**
 * `deploy/`, for containers: the files name only what there is, the compose file is one, and the proxy's
 * configuration lets through what discover asks for and nothing else.
 *
 * That the image can be built and run is shown by `image.slow.ts`, which takes minutes.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { forkEngine } from '../../bench/engine/client.ts';
import { commandTable } from '../../src/commands/table.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';
import { freePort, fromEngine, startHost } from '../helpers/host.ts';
import { startHaproxy } from '../helpers/proxy-programs.ts';
import { cleanEnvironment, needs, requireCommand } from '../helpers/run.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(path.join(repository, file), 'utf8');
const dockerfile = read('deploy/Dockerfile');
const compose = read('deploy/compose.yaml');

/** What the compose file hands to discover, `${NAME:-default}` being the default and `${NAME:?why}` what is given. */
function environment(given: Readonly<Record<string, string>>): Record<string, string> {
  const [, text = ''] = /^ {2}discover:\n.*?^ {4}environment:\n(.*?)^ {4}\w/ms.exec(compose) ?? [];
  const lines = [...text.matchAll(/^ {6}([A-Z_]+): (.*)$/gm)];
  const filled = (value: string): string =>
    value.replaceAll(/\$\{(\w+):([-?])(.*?)\}/g, (_, name: string, kind: string, rest: string) =>
      kind === '-' ? rest : (given[name] ?? ''),
    );
  return Object.fromEntries(lines.map(([, name = '', value = '']) => [name, filled(value)]));
}

test('the Dockerfile names only files, commands and variables that there are, and this version', async () => {
  const ignored = read('.dockerignore').split('\n');
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, files = '']) => files.split(' '));
  assert.ok(copied.length > 3, `Only ${copied.join()}`);
  for (const file of copied) {
    assert.ok(existsSync(path.join(repository, file)), `${file} is not there`);
    assert.ok(!ignored.includes(file), `${file} is ignored`);
  }
  for (const file of ['src', 'tsconfig.json', 'LICENSE']) assert.ok(!ignored.includes(file), `${file} is ignored`);
  const env = Object.fromEntries(
    [...dockerfile.matchAll(/^ENV (\w+)=(\S+)$/gm)].map(([, name, value]) => [name, value]),
  );
  const { warnings, problems, chosen } = readSources({ env });
  assert.deepEqual([warnings, problems, [...chosen.keys()]], [[], [], ['http.listen']]);
  const { version } = JSON.parse(read('package.json')) as { version: string };
  assert.equal(/^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1], version);
});

test('the health check ends a stuck agent in time for the next one to keep its lease, in the image and in the compose file', async () => {
  const call = /^HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s .* CMD \["discover", "(\w+)", "--end", "(\d+)"\]$/m;
  const [, interval, timeout, healthCheck = '', end] = call.exec(dockerfile) ?? [];
  assert.ok(healthCheck in commandTable, healthCheck);
  const { config } = await resolveConfig(readSources({ env: { DISCOVER_HOST_IP: '10.0.0.5' } }));
  // The last renewal may have been a fifth of the TTL before, and a start takes its time.
  const startSeconds = 5;
  const worst = config.etcd.ttlSeconds / 5 + Number(interval) + Number(end) + startSeconds;
  assert.ok(worst < config.etcd.ttlSeconds, `${worst} s`);
  // Or Docker would end the check before the check can end the agent: on a busy host its start takes seconds.
  assert.ok(Number(timeout) >= Number(end) + 20, `${timeout} s`);
  assert.match(compose, new RegExp(`^ {6}test: \\[CMD, discover, ${healthCheck}, --end, "${end}"\\]$`, 'm'));
  assert.match(compose, new RegExp(`^ {6}interval: ${interval}s\n {6}timeout: ${timeout}s$`, 'm'));
  assert.match(compose, /^ {4}init: true$/m);
});

test('what the demo is made of is not kept from the build of the image', async () => {
  const ignored = read('.dockerignore').split('\n');
  const { metafile } = await build({
    ...{ absWorkingDir: repository, entryPoints: ['bench/demo.ts'], bundle: true, platform: 'node', format: 'esm' },
    ...{ packages: 'external', write: false, metafile: true },
  });
  const files = Object.keys(metafile.inputs).filter((file) => !file.startsWith('src/'));
  assert.ok(files.length > 5);
  for (const file of [...files, 'deploy/package/main.mjs']) {
    const [top = '', next = ''] = file.split('/');
    assert.ok(!ignored.includes(top), file);
    assert.ok(!ignored.includes(`${top}/*`) || ignored.includes(`!${top}/${next}`), `${file} is ignored`);
  }
});

test('the compose file sets only what discover reads, and publishes the port that it listens at', async () => {
  const env = environment({ DISCOVER_HOST_IP: '10.0.0.5', DISCOVER_HOST_ID: 'h1' });
  const layers = readSources({ env });
  const origins = new Set([...layers.chosen.values()].map(({ origin }) => origin));
  assert.deepEqual(
    Object.keys(env).filter((name) => !origins.has(`environment ${name}`)),
    [],
  );
  const { config, warnings } = await resolveConfig(layers);
  assert.deepEqual(warnings, []);
  assert.deepEqual(config.docker.endpoint, { kind: 'tcp', host: 'socket-proxy', port: 2375 });
  assert.deepEqual(config.etcd.endpoints, ['http://etcd:2379']);
  assert.deepEqual([config.host.ip, config.host.id], ['10.0.0.5', 'h1']);
  const listen = config.http?.listen;
  assert.ok(listen !== undefined && 'port' in listen);
  assert.match(compose, new RegExp(`- 127\\.0\\.0\\.1:${listen.port}:${listen.port}$`, 'm'));
  assert.match(dockerfile, new RegExp(`^ENV DISCOVER_HTTP_LISTEN=127\\.0\\.0\\.1:${listen.port}$`, 'm'));
});

test('the compose file is one, and asks for the address and the name of the host (real docker-compose)', {
  skip: needs('docker-compose'),
}, async () => {
  const given = { DISCOVER_HOST_IP: '10.0.0.5', DISCOVER_HOST_ID: 'h1' };
  const config = (env: Readonly<Record<string, string>>) =>
    promisify(execFile)(requireCommand('docker-compose'), ['-f', 'deploy/compose.yaml', 'config'], {
      cwd: repository,
      env: cleanEnvironment(env),
    });
  assert.match((await config(given)).stdout, /DISCOVER_HOST_IP: "?10\.0\.0\.5/);
  for (const name of Object.keys(given)) {
    await assert.rejects(config({ ...given, [name]: '' }), { stderr: new RegExp(`set ${name} to `) });
  }
});

test('the unit kills and restarts a process that is stuck well before the keys of the host expire', async () => {
  const unit = read('deploy/discover.service');
  const seconds = (name: string): number => Number(new RegExp(`^${name}=(\\d+)$`, 'm').exec(unit)?.[1]);
  const { config } = await resolveConfig(readSources({ options: { host: { id: 'h1', ip: '10.0.0.5' } } }));
  const { ttlSeconds } = config.etcd;
  // The last renewal, the watchdog, the pause before the start, and the start itself.
  const startSeconds = 5;
  const worst = ttlSeconds / 5 + seconds('WatchdogSec') + seconds('RestartSec') + startSeconds;
  assert.ok(worst <= ttlSeconds - 5, `${worst} of ${ttlSeconds} s`);
  assert.match(unit, /^WatchdogSignal=SIGKILL$/m);
});

/** HAProxy with the configuration as it is, but for where it listens and where the engine is. */
async function startSocketProxy(
  directory: string,
  engine: string,
  options: { readonly port?: number; readonly change?: (configuration: string) => string } = {},
): Promise<{ readonly socketPath: string } & AsyncDisposable> {
  const { port, change = (text: string) => text } = options;
  const socketPath = path.join(directory, 'proxy.sock');
  const text = read('deploy/socket-proxy.cfg');
  assert.match(text, /^ {4}bind :2375$/m);
  // With a port it listens there too, as it is deployed.
  const bind = `bind unix@${socketPath}${port === undefined ? '' : `\n    bind 127.0.0.1:${port}`}`;
  const configuration = change(text.replace('bind :2375', bind).replace('/host/docker.sock', engine));
  const proxy = await startHaproxy(directory, configuration, [socketPath]);
  return { socketPath, [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose]() };
}

describe('the socket proxy', { skip: needs('haproxy', 'etcd', 'etcdctl') }, () => {
  const id = '0123456789abcdef'.repeat(4);

  test('hands GET of five paths to the engine, and nothing else, nor an upgrade (real haproxy, simulated engine)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-deploy-'));
    const seen: string[] = [];
    const engine = http.createServer(({ method, url, headers: { upgrade = 'no upgrade' } }, response) => {
      seen.push(`${method} ${url} ${upgrade}`);
      response.end('{}');
    });
    try {
      await new Promise<void>((resolve) => engine.listen(path.join(directory, 'docker.sock'), resolve));
      await using proxy = await startSocketProxy(directory, path.join(directory, 'docker.sock'));
      const ask = (method: string, target: string): Promise<number> =>
        new Promise((resolve, reject) => {
          const headers = { host: 'docker', connection: 'upgrade', upgrade: 'h2c' };
          const options = { socketPath: proxy.socketPath, method, path: target, headers, agent: false };
          http
            .request(options, (response) => {
              response.resume();
              response.on('end', () => resolve(response.statusCode ?? 0));
            })
            .on('error', reject)
            .end();
        });
      const allowed = ['/_ping', '/version', '/events?since=1&filters=%7B%7D', '/containers/json?all=1'];
      allowed.push(`/containers/${id}/json`, ...allowed.map((target) => `/v1.41${target}`));
      for (const target of allowed) assert.equal(await ask('GET', target), 200, target);
      assert.deepEqual(
        seen.splice(0),
        allowed.map((target) => `GET ${target} no upgrade`),
      );
      const inContainer = [
        'export',
        'archive?path=/',
        'logs?stdout=1',
        'top',
        'changes',
        'attach/ws',
        'json/../export',
      ];
      const refused = [
        ...['/', '/info', '/images/json', '/secrets', '/_ping/', '//_ping', '/v1.41/../_ping', '/containers/web/json'],
        `/containers/${id.slice(0, 12)}/json`,
        ...inContainer.map((rest) => `/containers/${id}/${rest}`),
        ...['/containers/json%0a', '/containers%2fjson', '/v2/_ping', '/x/containers/json', '/containers/json/x'],
      ];
      for (const target of refused) assert.equal(await ask('GET', target), 403, target);
      for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
        assert.equal(await ask(method, '/containers/json'), 403, method);
      }
      assert.deepEqual(seen, []);
    } finally {
      engine.closeAllConnections();
      engine.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('passes an event on at once, which HAProxy by itself does not (real haproxy, simulated engine)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-deploy-'));
    const socketPath = path.join(directory, 'docker.sock');
    let stream: http.ServerResponse | undefined;
    const engine = http.createServer((_request, response) => {
      stream = response;
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.flushHeaders();
    });
    /** The smallest of many delays, one event after the other: load makes single ones late, corking makes all of them late. */
    const smallestDelayMs = async (change?: (configuration: string) => string): Promise<number> => {
      const port = await freePort();
      const own = mkdtempSync(path.join(directory, 'proxy-'));
      await using _proxy = await startSocketProxy(own, socketPath, { port, ...(change && { change }) });
      const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
        http.get({ port, host: '127.0.0.1', path: '/events', agent: false }, resolve).on('error', reject);
      });
      const delays: number[] = [];
      for (let event = 0; event < 20; event++) {
        const arrived = once(response, 'data');
        const sentAt = performance.now();
        stream?.write('{"Type":"container"}\n');
        await arrived;
        delays.push(performance.now() - sentAt);
      }
      response.destroy();
      stream?.destroy();
      delays.sort((one, other) => one - other);
      console.log(`# event to arrival: min ${delays[0]?.toFixed(1)} ms, median ${delays[10]?.toFixed(1)} ms`);
      return delays[0] ?? Number.POSITIVE_INFINITY;
    };
    try {
      await new Promise<void>((resolve) => engine.listen(socketPath, resolve));
      const corked = await smallestDelayMs((text) => text.replace('option http-no-delay', ''));
      const deployed = await smallestDelayMs();
      assert.ok(deployed < corked / 2, `${deployed} ms, ${corked} ms without the option`);
    } finally {
      engine.closeAllConnections();
      engine.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('is enough for discover (real haproxy, simulated engine, real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-deploy-'));
    try {
      await using engine = await forkEngine({ containers: 5 });
      await using proxy = await startSocketProxy(directory, engine.socketPath);
      await using host = await startHost({ source: fromEngine(engine), socketPath: proxy.socketPath });
      await host.converged();
      await engine.churn({ rate: 30, seconds: 1, lifetimeMs: 200, survivors: 0.1 });
      await host.converged();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
