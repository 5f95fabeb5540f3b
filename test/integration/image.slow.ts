/**
 * The image and the compose file as an operator uses them: built, started, looked at, stopped, on a real engine.
 *
 *     npm run build && node --import ./test/loader.mjs --test test/integration/image.slow.ts
 *
 * Nothing is pulled: what they build on and run beside is made of this machine's programs, under the names that stand
 * in the files (see `helpers/images.ts`), so the files are used as they are. It takes minutes, most of them npm's; the
 * part of it that is quick is in `deploy.integration.test.ts`.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  letContainersTalk,
  makeEtcd,
  makeHaproxy,
  makeLibraries,
  makeNode,
  makeWeb,
  named,
} from '../helpers/images.ts';
import { cleanEnvironment, needs } from '../helpers/run.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const programs = [
  'dockerd',
  'docker',
  'docker-compose',
  'busybox',
  'ip',
  'iptables',
  'npm',
  'etcd',
  'etcdctl',
  'haproxy',
];
/** Building takes as long as npm does. */
const patient = { timeoutMs: 120_000, everyMs: 200 };

interface Service {
  readonly id: string;
  readonly pid: number;
}

interface Key {
  readonly key: string;
  readonly value: string;
  readonly lease: number;
  readonly modRevision: number;
}

describe('the image', { skip: needs(...programs, 'root'), timeout: 2_400_000 }, () => {
  let dockerd: Dockerd;
  let talk: Disposable;
  before(async () => {
    dockerd = await startDockerd({ liveRestore: true });
    talk = letContainersTalk(dockerd);
    await makeNode(dockerd, named('Dockerfile', /^ARG NODE_IMAGE=(\S+)$/m));
    await makeLibraries(dockerd, named('Dockerfile', /^ARG LIBRARIES_IMAGE=(\S+)$/m));
    await makeEtcd(dockerd, named('compose.yaml', /^ {4}image: (\S*\betcd:\S+)$/m));
    await makeHaproxy(dockerd, named('compose.yaml', /^ {4}image: (\S*\bhaproxy:\S+)$/m));
    await makeWeb(dockerd, named('compose.yaml', /^ {4}image: (\S*\bwhoami:\S+)$/m));
  });
  after(async () => {
    talk?.[Symbol.dispose]();
    await dockerd?.close();
  });

  const env = () => ({
    ...cleanEnvironment({ DISCOVER_HOST_IP: '10.0.0.5', DISCOVER_HOST_ID: 'host-1' }),
    DOCKER_HOST: `unix://${dockerd.socketPath}`,
    DOCKER_SOCKET_DIR: path.dirname(dockerd.socketPath),
    DOCKER_BUILDKIT: '0', // this engine's other builder needs a client with a plugin
  });
  const compose = async (...args: string[]): Promise<string> => {
    const call = ['-f', 'deploy/compose.yaml', ...args];
    return (await run('docker-compose', call, { cwd: repository, env: env(), maxBuffer: 1 << 26 })).stdout;
  };
  const service = async (name: string): Promise<Service> => {
    const id = (await compose('ps', '-q', name)).trim();
    return { id, pid: Number(await dockerd.docker('inspect', '--format', '{{.State.Pid}}', id)) };
  };
  /** What etcd holds of the services. */
  const keys = async (): Promise<Key[]> => {
    const read = ['get', '--prefix', '/discover/service/', '--write-out', 'json'];
    const { kvs = [] } = JSON.parse(await compose('exec', '-T', 'etcd', 'etcdctl', ...read)) as {
      kvs?: { key: string; value: string; lease?: number; mod_revision: number }[];
    };
    const text = (base64: string): string => Buffer.from(base64, 'base64').toString();
    return kvs.map((one) => ({
      key: text(one.key),
      value: text(one.value),
      lease: one.lease ?? 0,
      modRevision: one.mod_revision,
    }));
  };
  const held = async (...containers: string[]): Promise<Key[]> => {
    const found = await keys();
    const ids = found.map(({ key }) => key.split('/').at(-1));
    assert.deepEqual(ids.sort(), containers.map((id) => id.slice(0, 12)).sort());
    return found;
  };

  test('from nothing to a published service is one command (real dockerd, real etcd, real haproxy)', async (context) => {
    const began = performance.now();
    const since = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;
    await compose('build', '--build-arg', 'REVISION=0123456789ab');
    const built = since();
    await compose('up', '--detach');
    const web = await service('web');
    const [found] = await eventually(() => held(web.id), patient);
    context.diagnostic(`built after ${built}, published after ${since()}`);
    const port = await dockerd.hostPort(web.id, '80/tcp');
    assert.equal(found?.key, `/discover/service/web/default/host-1/${web.id.slice(0, 12)}`);
    assert.equal(found.value, `tcp://10.0.0.5:${port}`);
    assert.match(await compose('exec', '-T', 'discover', 'discover', 'ls', 'web'), /^web +default +host-1 /m);
    assert.equal(await compose('exec', '-T', 'discover', 'discover', 'get', 'web'), `10.0.0.5:${port}\n`);
  });

  test('the image holds what runs and nothing else, for a user who owns none of it', async (context) => {
    const format = '{{json .}}';
    const image = JSON.parse(await dockerd.docker('image', 'inspect', '--format', format, 'docker-discover')) as {
      Size: number;
      Config: { User: string; Entrypoint: string[]; Labels: Record<string, string> };
    };
    // As a registry keeps it: each layer in the form of gzip.
    const pack = ['-c', 'set -o pipefail; docker save docker-discover | gzip -6 | wc -c'];
    const pulled = Number((await run('bash', pack, { env: env() })).stdout);
    context.diagnostic(`${(image.Size / 1e6).toFixed(0)} MB on the disk, ${(pulled / 1e6).toFixed(0)} MB to pull`);
    assert.ok(image.Size < 100e6 && pulled > 10e6 && pulled < 100e6, `${image.Size} and ${pulled} bytes`);
    const manifest = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as { version: string };
    assert.deepEqual([image.Config.User, image.Config.Entrypoint], ['65532:65532', ['discover']]);
    assert.equal(image.Config.Labels['org.opencontainers.image.version'], manifest.version);
    assert.equal(image.Config.Labels['org.opencontainers.image.revision'], '0123456789ab');

    const { pid } = await service('discover');
    const root = `/proc/${pid}/root`;
    const found = ['usr', 'bin', 'etc', 'home', 'lib', 'lib64', 'root', 'var']
      .filter((top) => existsSync(path.join(root, top)))
      .flatMap((top) => readdirSync(path.join(root, top), { recursive: true }).map((name) => `/${top}/${name}`));
    const writable = found.filter((file) => {
      const { uid, gid, mode } = lstatSync(path.join(root, file));
      return (uid === 65532 || gid === 65532 || mode & 2) && !lstatSync(path.join(root, file)).isSymbolicLink();
    });
    assert.deepEqual(writable, []);
    assert.ok(found.includes('/usr/local/bin/discover'), `Only ${found.length} files`);
    const unwanted = /\/(?:sh|bash|node|npm|npx|apt|apk|busybox)$|\/node_modules\//;
    assert.deepEqual(
      found.filter((file) => unwanted.test(file)),
      [],
    );
  });

  test('it runs without root, capabilities or a place to write, and is healthy (real dockerd)', async () => {
    const { id, pid } = await service('discover');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(status, /^Uid:\t65532\t65532\t65532\t65532$/m);
    assert.match(status, /^CapBnd:\t0+$/m);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(readFileSync(`/proc/${pid}/mounts`, 'utf8'), /^overlay \/ overlay ro,/m);
    const health = () => dockerd.docker('inspect', '--format', '{{json .State.Health}}', id);
    await eventually(async () => assert.match(await health(), /"Status":"healthy".*"Output":"ok\\n"/), patient);
    assert.equal(await compose('exec', '-T', 'discover', 'discover', 'health', '--ready'), 'ok\n');
  });

  test('it finds the names of --add-host, without any file of its own about names (real dockerd)', async () => {
    const asked = dockerd.docker(
      ...['run', '--rm', '--add-host', 'etcd.invalid:127.0.0.1', 'docker-discover'],
      ...['ls', '--etcd:endpoints', 'etcd.invalid:1'],
    );
    await assert.rejects(asked, /etcd at http:\/\/etcd\.invalid:1: connection refused/);
  });

  test('the proxy lets through what discover asks for, and nothing more (real dockerd, real haproxy)', async () => {
    const { id } = await service('web');
    const { pid } = await service('discover');
    const proxy = await service('socket-proxy');
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const address = (await dockerd.docker('inspect', '--format', format, proxy.id)).trim();
    const script = `
      const http = require('node:http');
      const ask = (method, path) => new Promise((resolve) => http.request(
        { host: '${address}', port: 2375, method, path, agent: false },
        (response) => { response.destroy(); resolve(response.statusCode); }).end());
      (async () => {
        const asked = JSON.parse(process.argv[1]);
        const answers = [];
        for (const [method, path] of asked) answers.push(await ask(method, path));
        console.log(JSON.stringify(answers));
      })();`;
    const allowed = ['/_ping', '/version', '/events', '/v1.41/containers/json?all=1', `/v1.41/containers/${id}/json`];
    const refused = ['/info', '/images/json', `/containers/${id}/export`, `/containers/${id}/logs?stdout=1`];
    const asked = [
      ...[...allowed, ...refused].map((one) => ['GET', one]),
      ['POST', `/containers/${id}/stop`],
      ['HEAD', '/_ping'],
    ];
    // The image has nothing to ask with; this machine's Node asks from within its network.
    const inside = ['--target', String(pid), '--net', process.execPath, '-e', script, JSON.stringify(asked)];
    const answer = (await run('nsenter', inside)).stdout;
    const expected = asked.map(([method = '', one = '']) => (method === 'GET' && allowed.includes(one) ? 200 : 403));
    assert.deepEqual(JSON.parse(answer), expected);
  });

  // Before the engine is restarted: until Docker 23 that ends the health checks of containers that run on (moby/moby#41871).
  test('an agent that is stuck is ended by the health check and started again, and readers notice nothing (real dockerd)', async (context) => {
    const web = await service('web');
    const [before] = await held(web.id);
    const { id, pid: init } = await service('discover');
    const restarts = async (): Promise<number> =>
      Number(await dockerd.docker('inspect', '--format', '{{.RestartCount}}', id));
    assert.equal(await restarts(), 0);
    const [agent] = readFileSync(`/proc/${init}/task/${init}/children`, 'utf8').trim().split(' ');
    const began = performance.now();
    process.kill(Number(agent), 'SIGSTOP');
    const health = () => dockerd.docker('inspect', '--format', '{{json .State.Health}}', id);
    await eventually(async () => assert.equal(await restarts(), 1, await health()), patient);
    context.diagnostic(`ended after ${((performance.now() - began) / 1000).toFixed(1)} s`);
    await eventually(async () => {
      assert.equal(await compose('exec', '-T', 'discover', 'discover', 'health', '--ready'), 'ok\n');
    }, patient);
    assert.deepEqual(await held(web.id), [before]);
  });

  test('an engine that is restarted, and with it the socket, is found again (real dockerd)', async () => {
    const web = await service('web');
    await dockerd.stop();
    await dockerd.restart();
    const image = named('compose.yaml', /^ {4}image: (\S*\bwhoami:\S+)$/m);
    const second = await dockerd.docker('run', '--detach', '--env', 'DISCOVER=web:80', '--publish', '80', image);
    await eventually(() => held(web.id, second), patient);
    await dockerd.docker('rm', '--force', second);
    await eventually(() => held(web.id), patient);
  });

  test('a stop ends with 0 and leaves the keys to the next one, which changes none of them (real dockerd, real etcd)', async () => {
    const web = await service('web');
    const { id } = await service('discover');
    const [before] = await held(web.id);
    assert.ok(before !== undefined && before.lease !== 0);
    await dockerd.docker('stop', id);
    assert.equal(await dockerd.docker('inspect', '--format', '{{.State.ExitCode}}', id), '0');
    assert.deepEqual(await held(web.id), [before]);
    await dockerd.docker('rm', id);
    await compose('up', '--detach', 'discover');
    const { id: next } = await service('discover');
    assert.notEqual(next, id);
    await eventually(async () => {
      assert.match(await dockerd.docker('logs', next), /"msg":"started"/);
    }, patient);
    assert.deepEqual(await held(web.id), [before]);
  });

  test('everything ends in order when it is taken down (real dockerd)', async () => {
    const { id } = await service('discover');
    const following = dockerd.docker('logs', '--follow', id);
    await compose('down', '--volumes');
    const last = (await following).trim().split('\n').at(-1);
    assert.equal((JSON.parse(last ?? '{}') as { msg?: string }).msg, 'stopped', last);
    assert.equal(await dockerd.docker('ps', '--all', '--quiet'), '');
  });
});
