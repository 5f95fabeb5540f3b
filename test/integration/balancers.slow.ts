/**
 * Twenty containers behind HAProxy, by SRV records, and behind nginx, by a file that `discover watch` keeps, under steady
 * load while containers are stopped, killed and started, etcd is killed for ten seconds and discover is restarted.
 *
 * No request may fail on an orderly stop. `SECONDS=60` shortens it from five minutes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromDockerd, startHost } from '../helpers/host.ts';
import { startHaproxy } from '../helpers/proxy-programs.ts';
import {
  atExit,
  cleanEnvironment,
  exitOf,
  killProcessesOf,
  needs,
  requireCommand,
  runDiscover,
  scratchDirectory,
} from '../helpers/run.ts';
import { drainingServer } from '../helpers/stops.ts';

const seconds = Number(process.env.SECONDS ?? 300);
const perSecond = 100;
const containers = 20;
/** A server goes on for so long after it was asked to stop. */
const serveSeconds = 3;
const examples = fileURLToPath(new URL('../../deploy/examples', import.meta.url));

interface Load {
  phase: string;
  readonly asked: Map<string, number>;
  readonly failures: Map<string, number>;
  /** Each failure and each container that leaves: when, in seconds of the load, and by which server or port. */
  readonly details: string[];
  stop(): Promise<void>;
}

const count = (counts: Map<string, number>, name: string): Map<string, number> =>
  counts.set(name, (counts.get(name) ?? 0) + 1);

/** GET at both proxies in turns; a failure is told by its proxy, what was done at the time and its reason. */
function startLoad(ports: Readonly<Record<string, number>>): Load {
  const details: string[] = [];
  const load = { phase: 'quiet', asked: new Map<string, number>(), failures: new Map<string, number>(), details };
  const underWay = new Set<Promise<void>>();
  const ask = (proxy: string, port: number): Promise<void> =>
    new Promise((resolve) => {
      const { phase } = load;
      count(load.asked, phase);
      const sentAt = performance.now();
      let server = 'no server';
      const failed = (reason: string): void => {
        count(load.failures, `${phase}: ${proxy} ${reason}`);
        const times = [sentAt, performance.now()].map((at) => ((at - began) / 1_000).toFixed(1)).join(' to ');
        details.push(`${times} ${phase}: ${proxy} ${reason} (${server})`);
        resolve();
      };
      const request = http.get({ host: '127.0.0.1', port, agent: false, timeout: 20_000 }, (response) => {
        server = String(response.headers['x-server']);
        response
          .resume()
          .on('end', () => (response.statusCode === 200 ? resolve() : failed(`status ${response.statusCode}`)));
        response.on('error', (error) => failed(error.message));
      });
      request.on('error', (error: NodeJS.ErrnoException) => failed(error.code ?? error.message));
      request.on('timeout', () => request.destroy(new Error('no answer for 20 s')));
    });
  const [began, all] = [performance.now(), Object.entries(ports)];
  let sent = 0;
  const timer = setInterval(() => {
    for (; sent < ((performance.now() - began) / 1_000) * perSecond; sent++) {
      const [proxy, port] = all[sent % all.length] as [string, number];
      const one: Promise<void> = ask(proxy, port).finally(() => underWay.delete(one));
      underWay.add(one);
    }
  }, 10);
  return Object.assign(load, {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
    },
  });
}

const startOne = async (dockerd: Dockerd): Promise<string> =>
  dockerd.run({
    env: ['DISCOVER=shop:80'],
    ports: [80],
    args: ['--stop-signal', 'TERM'],
    command: drainingServer(serveSeconds),
  });

const parts = ['haproxy', 'nginx', 'etcd', 'dockerd', 'docker', 'busybox', 'ip', 'root'];

test(`${perSecond} requests a second through HAProxy and nginx for ${seconds} s of changes (real dockerd, real etcd, real haproxy, real nginx)`, {
  skip: needs(...parts),
  timeout: (seconds + 300) * 1_000,
}, async (t) => {
  const directory = scratchDirectory('balancers', os.tmpdir());
  const [dnsPort, haproxyPort, nginxPort] = [await freePort(), await freePort(), await freePort()];
  await using dockerd = await startDockerd();
  const args = ['--dns:listen', String(dnsPort)];
  await using host = await startHost({ source: fromDockerd(dockerd), names: { ip: '127.0.0.1' }, args, record: false });
  const ids: string[] = [];
  for (let started = 0; started < containers; started++) ids.push(await startOne(dockerd));
  await host.converged();

  const text = ['haproxy.cfg']
    .map((name) => readFileSync(path.join(examples, name), 'utf8'))
    .join('')
    .replace('here 127.0.0.1:5353', `here 127.0.0.1:${dnsPort}`)
    .replace(':8080', `127.0.0.1:${haproxyPort}`)
    .replaceAll('_web._tcp', '_shop._tcp');
  for (const name of ['haproxy', 'nginx']) mkdirSync(path.join(directory, name));
  await using _haproxy = await startHaproxy(path.join(directory, 'haproxy'), text, [`127.0.0.1:${haproxyPort}`]);
  const own = path.join(directory, 'nginx');
  const [upstream, pid] = [path.join(own, 'web.conf'), path.join(own, 'nginx.pid')];
  await using watching = runDiscover([
    ...['watch', 'shop', '--etcd:endpoints', host.etcd.endpoint, '--wait', '200ms:1s'],
    ...['--exec', path.join(examples, 'nginx-upstream.sh'), '--to', upstream],
    ...['--reload', `test ! -e ${pid} || kill -HUP $(cat ${pid})`],
  ]);
  await eventually(() => assert.equal(readFileSync(upstream, 'utf8').match(/server /g)?.length, containers));
  const file = path.join(own, 'nginx.conf');
  writeFileSync(
    file,
    [
      `user root; daemon off; pid ${pid}; error_log stderr; events {} http { access_log off;`,
      ...['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (kind) => `${kind}_temp_path ${path.join(own, kind)};`,
      ),
      `include ${upstream}; add_header X-Server $upstream_addr always;`,
      readFileSync(path.join(examples, 'nginx.conf'), 'utf8').replace('listen 8080', `listen 127.0.0.1:${nginxPort}`),
      '}',
    ].join('\n'),
  );
  const nginx = spawn(requireCommand('nginx'), ['-e', 'stderr', '-c', file], {
    stdio: 'ignore',
    env: cleanEnvironment(),
  });
  const forget = atExit(() => killProcessesOf(own, ['nginx']));
  const ports = { haproxy: haproxyPort, nginx: nginxPort };
  for (const port of Object.values(ports)) {
    await eventually(async () => assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200));
  }
  const load = startLoad(ports);
  try {
    const began = performance.now();
    const isDue = (share: number): boolean => performance.now() - began > seconds * share * 1_000;
    let [wasEtcdKilled, wasRestarted] = [false, false];
    for (let turn = 0; !isDue(1); turn++) {
      const leaving = ids.shift() ?? '';
      load.phase = turn % 3 === 2 ? 'kill' : 'stop';
      const since = ((performance.now() - began) / 1_000).toFixed(1);
      load.details.push(`${since} ${load.phase} ${await dockerd.hostPort(leaving, '80/tcp')}`);
      if (turn % 3 === 2) await dockerd.docker('kill', leaving);
      else await dockerd.docker('stop', leaving);
      ids.push(await startOne(dockerd));
      // The consequences are counted with their cause.
      await sleep(2_000);
      if (!wasEtcdKilled && isDue(0.4)) {
        wasEtcdKilled = true;
        load.phase = 'etcd away';
        await host.etcd.kill();
        await sleep(10_000);
        await host.etcd.restart();
        await host.converged();
      }
      if (!wasRestarted && isDue(0.7)) {
        wasRestarted = true;
        load.phase = 'restart';
        await host.terminate();
        await host.launch();
        await sleep(2_000);
      }
    }
  } finally {
    await load.stop();
    nginx.kill('SIGTERM');
    await exitOf(nginx);
    forget();
    rmSync(directory, { recursive: true, force: true });
  }
  t.diagnostic(`requests: ${JSON.stringify([...load.asked])}`);
  t.diagnostic(`failures: ${JSON.stringify([...load.failures])}`);
  for (const line of load.details) t.diagnostic(line);
  t.diagnostic(watching.output);
  assert.deepEqual(
    [...load.failures.keys()].filter((name) => !name.startsWith('kill')),
    [],
  );
});
