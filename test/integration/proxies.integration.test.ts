/**
 * discover and its readers behind proxies of others: before Docker and before etcd, with TLS and without, with idle
 * connections cut and the proxy killed while containers live and die.
 *
 * Beside the discover under test a second one follows the same engine without a proxy, and writes under another prefix.
 * So the time of each event through the proxy has a measure of the same moment.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { type EtcdServer, type Recorder, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { assertOnlyDeadDeleted, freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { beforeDocker, beforeEtcd, createTls, type Place, type Tls } from '../helpers/proxy-configurations.ts';
import type { ProxyProgram } from '../helpers/proxy-programs.ts';
import { assertExact, observe } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

// As it is built, because only there an etcd can be named by its address under every Node.
const { DiscoverClient }: typeof import('../../src/client/index.ts') = await import(
  new URL('../../dist/client/index.js', import.meta.url).href
);

interface Kind {
  readonly name: string;
  readonly before: 'Docker' | 'etcd';
  readonly program: 'haproxy' | 'nginx' | 'etcd grpc-proxy';
  readonly start: (place: Place) => Promise<ProxyProgram>;
  readonly isSecure: boolean;
  /** It ends streams that are idle. */
  readonly cuts: boolean;
  /** It keeps events back: it has not the lines of the documentation. */
  readonly delays?: true;
  /** What discover has to log. */
  readonly said?: RegExp;
}

type Family = Omit<Kind, 'isSecure'>;
const nginxForDocker: Family = {
  name: 'nginx',
  before: 'Docker',
  program: 'nginx',
  start: beforeDocker.nginx,
  cuts: true,
};
const bufferingNginx: Family = {
  ...nginxForDocker,
  name: 'nginx that buffers',
  start: beforeDocker.bufferingNginx,
  cuts: false,
  delays: true,
  // On a quiet host the stream does not begin, and lists have to do.
  said: /no answer to \/events .*turn off its buffering/,
};
const haproxyForDocker: Family = {
  name: 'our HAProxy',
  before: 'Docker',
  program: 'haproxy',
  start: beforeDocker.socketProxy,
  cuts: true,
};
const tecnativa: Family = {
  ...haproxyForDocker,
  name: 'an HAProxy like that of Tecnativa',
  start: beforeDocker.sections,
  // It has no time limit for events.
  cuts: false,
};
const tecnativaWithLine: Family = {
  ...tecnativa,
  name: `${tecnativa.name} with the line`,
  start: beforeDocker.sectionsWithLine,
};
const nginxForEtcd: Family = { ...nginxForDocker, before: 'etcd', start: beforeEtcd.nginx };
const haproxyForEtcd: Family = { ...nginxForEtcd, name: 'HAProxy', program: 'haproxy', start: beforeEtcd.haproxy };
const grpcProxyForEtcd: Family = {
  ...nginxForEtcd,
  name: 'etcd grpc-proxy',
  program: 'etcd grpc-proxy',
  start: beforeEtcd.grpcProxy,
  cuts: false,
};

/** `npm test` takes the first three. */
const kinds: readonly Kind[] = [
  { ...nginxForDocker, isSecure: true },
  { ...nginxForEtcd, isSecure: true },
  { ...grpcProxyForEtcd, isSecure: true },
  { ...nginxForDocker, isSecure: false },
  { ...bufferingNginx, isSecure: false },
  { ...haproxyForDocker, isSecure: false },
  { ...haproxyForDocker, isSecure: true },
  { ...tecnativa, isSecure: false, delays: true },
  // HAProxy sends TLS at once, whatever the option.
  { ...tecnativa, isSecure: true },
  { ...tecnativaWithLine, isSecure: false },
  { ...nginxForEtcd, isSecure: false },
  { ...grpcProxyForEtcd, isSecure: false },
  { ...haproxyForEtcd, isSecure: true },
  { ...haproxyForEtcd, isSecure: false },
];

/** So few that each name has instances that come and go. */
const names = Array.from({ length: 5 }, (_, number) => `service-${number}`);
const numbers = names.length;
const loneContainer = { env: [`DISCOVER=${names[0]}:80`], ports: [{ container: '80/tcp' }] };

describe('behind a proxy', {
  skip: needs('etcd', 'etcdctl', 'haproxy', 'nginx', 'openssl'),
  concurrency: 3,
}, () => {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'dsc-proxies-'));
  after(() => rmSync(scratch, { recursive: true, force: true }));

  for (const kind of amount(kinds.slice(1, 3), kinds)) {
    const { before, cuts, isSecure, name, program } = kind;
    const title = `${name} in front of ${before}${isSecure ? ', with TLS' : ''}: etcd and readers are exact`;
    test(`${title} (real ${program}, real etcd, simulated engine)`, async (t) => {
      const directory = path.join(scratch, String(kinds.indexOf(kind)));
      mkdirSync(directory);
      const tls = isSecure ? createTls(directory) : undefined;
      await using engine = await forkEngine({ containers: 5 });
      const member = await startMember(before === 'etcd' ? tls : undefined);
      await using etcd = member.etcd;
      const to = before === 'Docker' ? engine.socketPath : String(member.port);
      const place = { directory, port: await freePort(), to, tls };
      await using proxy = await kind.start(place);
      await using host = await startHost({
        ...{ source: fromEngine(engine), etcd, idle: true },
        entries: async (server) => (await server.entries('')).filter(({ key }) => !key.startsWith('/direct/')),
      });
      await Promise.all([host.launch(['--etcd:prefix', '/direct']), host.launch(optionsOf(kind, place))]);
      await host.converged();
      await using client = new DiscoverClient(accessOf(kind, place, etcd));
      const observers = names.map((one) => observe(client, one));
      await eventually(() =>
        assert.ok(
          observers.every(({ seen }) => seen.length > 0),
          'Not yet',
        ),
      );
      const exact = async (): Promise<void> => {
        await host.converged();
        await assertExact(etcd, host.recorder, observers);
      };

      await compareWithDirect(t, kind, engine, host);
      await exact();
      const churn = engine.churn({ rate: 20, seconds: amount(2, 10), lifetimeMs: 300, survivors: 0.2, numbers });
      for (let kills = 0; kills < amount(1, 4); kills++) {
        await sleep(1_000);
        await proxy.kill();
        await sleep(200);
        await proxy.start();
      }
      const { lifecycles } = await churn;
      await exact();
      assertOnlyDeadDeleted(host.recorder.changes, lifecycles);

      if (cuts) await waitForCut(kind, engine, etcd);
      if (program !== 'etcd grpc-proxy' && before === 'etcd') await loseEtcd(kind, engine, host);
      const [lone = ''] = await engine.run([loneContainer]);
      await exact();
      await engine.apply('stop', [lone]);
      await exact();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      if (kind.said) assert.match(host.discover.output, kind.said);
    });
  }
});

/** The helpers go on speaking plainly to a port of their own; with TLS the proxy is given another. */
async function startMember(tls: Tls | undefined): Promise<{ readonly etcd: EtcdServer; readonly port: number }> {
  const [plain, secure] = [await freePort(), await freePort()];
  if (tls === undefined) return { etcd: await startEtcd({ port: plain }), port: plain };
  const urls = `http://127.0.0.1:${plain},https://127.0.0.1:${secure}`;
  const files = ['--cert-file', tls.server.cert, '--key-file', tls.server.key];
  const args = ['--listen-client-urls', urls, ...files, '--client-cert-auth', '--trusted-ca-file', tls.authority.ca];
  return { etcd: await startEtcd({ port: plain, args }), port: secure };
}

const endpointOf = ({ port, tls }: Place): string => `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;

/** The options that send discover through the proxy. */
function optionsOf({ before }: Kind, place: Place): string[] {
  const { port, tls } = place;
  const filesOf = (group: string): string[] =>
    tls === undefined
      ? []
      : Object.entries({ ca: tls.authority.ca, ...tls.client }).flatMap(([file, at]) => [`--${group}:tls:${file}`, at]);
  const address =
    before === 'Docker'
      ? ['--docker:socketPath', 'false', '--docker:host', 'localhost', '--docker:port', String(port)]
      : ['--etcd:endpoints', endpointOf(place)];
  return [...address, ...filesOf(before === 'Docker' ? 'docker' : 'etcd')];
}

/** Readers go through the proxy where it is etcd's. */
function accessOf({ before }: Kind, place: Place, etcd: EtcdServer): ConstructorParameters<typeof DiscoverClient>[0] {
  if (before === 'Docker') return { endpoints: etcd.endpoints };
  const { tls } = place;
  return { endpoints: [endpointOf(place)], ...(tls && { tls: { ca: tls.authority.ca, ...tls.client } }) };
}

/**
 * Events are not kept back: each arrives in etcd before the next one happens, and takes no longer through the proxy than
 * without it, give or take the cost of a hop. The smallest delays are compared: load makes single ones late, and a proxy
 * that keeps events back makes all of them late.
 */
async function compareWithDirect(t: TestContext, { delays }: Kind, engine: EngineHandle, host: Host): Promise<void> {
  await using direct = await host.etcd.record('/direct/');
  const [throughMs, directMs]: [number[], number[]] = [[], []];
  for (let events = 0; events < (delays ? 4 : 20); events++) {
    const startedAt = performance.now();
    const [id = ''] = await engine.run([loneContainer]);
    const arrivalMs = ({ changes }: Recorder): number => {
      const change = changes.find(({ key }) => key.endsWith(`/host/h1/${id.slice(0, 12)}`));
      assert.ok(change, `${id} is not in etcd yet`);
      return change.at - startedAt;
    };
    await eventually(() => [host.recorder, direct].map(arrivalMs), { everyMs: 2 });
    throughMs.push(arrivalMs(host.recorder));
    directMs.push(arrivalMs(direct));
  }
  const [through, straight] = [summaryOf(throughMs), summaryOf(directMs)];
  t.diagnostic(`event to etcd: ${through.said} through the proxy, ${straight.said} without it`);
  if (!delays) assert.ok(through.minMs < 2 * straight.minMs + 20, `${through.said}, and ${straight.said} without it`);
}

function summaryOf(values: readonly number[]): { readonly minMs: number; readonly said: string } {
  const sorted = [...values].sort((one, other) => one - other);
  const [minMs = Number.NaN, medianMs = Number.NaN] = [sorted[0], sorted[sorted.length >> 1]];
  return { minMs, said: `median ${medianMs.toFixed(1)} ms, min ${minMs.toFixed(1)} ms` };
}

/** Waits until the proxy has ended a stream that was idle: the one of events, or a reader's watch. */
async function waitForCut({ before }: Kind, engine: EngineHandle, etcd: EtcdServer): Promise<void> {
  const count = async (): Promise<number> => {
    if (before === 'Docker') return (await engine.counts()).events;
    const text = await (await fetch(`${etcd.endpoint}/metrics`)).text();
    const ends = text.matchAll(/^grpc_server_handled_total\{.*grpc_method="Watch".*\} (\d+)$/gm);
    return [...ends].reduce((sum, [, number]) => sum + Number(number), 0);
  };
  const seen = await count();
  await eventually(async () => assert.ok((await count()) > seen, 'No stream has been cut yet'));
}

/** The proxy answers in HTML in the place of an etcd that is away: nginx at once, HAProxy after three tries in 3 s. */
async function loseEtcd({ program }: Kind, engine: EngineHandle, host: Host): Promise<void> {
  await host.etcd.stop();
  await engine.run([loneContainer]);
  const said = program === 'nginx' ? /a proxy answers, and does not reach etcd/ : /no answer in time/;
  await host.discover.waitForLog(({ cause, error }) => said.test(`${cause} ${error}`));
  await host.etcd.restart();
}
