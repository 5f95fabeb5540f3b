/** `ls`, `get`, `watch`, `verify`, `doctor` and `health` as an operator runs them: what they print, and their exit codes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { commandTable } from '../../src/commands/table.ts';
import { EtcdRegistry } from '../../src/etcd/cluster.ts';
import { type Outcome, runCommand } from '../helpers/command.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFront, status } from '../helpers/front.ts';
import { freePort, fromDockerd, fromEngine, startHost } from '../helpers/host.ts';
import { keyOf, startWriter, type Writer } from '../helpers/reader.ts';
import { atExit, exitOf, needs, requireCommand, runDiscover } from '../helpers/run.ts';

const nowhere = ['--etcd:endpoints', '127.0.0.1:1'];

interface Check {
  readonly name: string;
  readonly state: string;
  readonly seen: string;
  readonly remedy?: string;
}

/** A member of etcd that only follows: it is asked to join, and not promoted. */
async function startLearner(
  etcd: EtcdServer,
  directory: string,
): Promise<{ readonly endpoint: string } & AsyncDisposable> {
  const [client, peer] = [await freePort(), await freePort()];
  const [endpoint, peerUrl] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
  await etcd.ctl('member', 'add', 'learner', '--learner', `--peer-urls=${peerUrl}`);
  const [, , voter = '', voterUrl = ''] =
    (await etcd.ctl('member', 'list'))
      .split('\n')
      .map((line) => line.split(', '))
      .find(([, state, name]) => state === 'started' && name !== 'learner') ?? [];
  const urls = ['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint];
  const peers = ['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl];
  const cluster = [
    '--initial-cluster',
    `${voter}=${voterUrl},learner=${peerUrl}`,
    '--initial-cluster-state',
    'existing',
  ];
  const args = ['--name', 'learner', '--data-dir', directory, ...urls, ...peers, ...cluster];
  let output = '';
  const launch = (): ChildProcess => {
    const launched = spawn(requireCommand('etcd'), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    launched.stderr.on('data', (text) => {
      output = (output + text).slice(-3_000);
    });
    return launched;
  };
  let child = launch();
  const forget = atExit(() => child.kill('SIGKILL'));
  const reader = new EtcdRegistry({ endpoints: [endpoint] });
  await eventually(async () => {
    // It gives up where the other member does not answer at once. A service manager would start it again, too.
    if (child.exitCode !== null) child = launch();
    await assert.rejects(reader.readPrefix('/discover/'), /not supported for learner/, output);
  });
  reader.close();
  const end = async (): Promise<void> => {
    forget();
    child.kill('SIGKILL');
    await exitOf(child);
  };
  return { endpoint, [Symbol.asyncDispose]: end };
}

test('a learner among the endpoints is passed over, and doctor warns of it (simulated engine, real etcd of two members)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-learner-'));
  try {
    await using engine = await forkEngine({ containers: 2 });
    await using etcd = await startEtcd();
    await using learner = await startLearner(etcd, directory);
    const endpoints = `${learner.endpoint},${etcd.endpoint}`;
    await using host = await startHost({ source: fromEngine(engine), etcd, endpoints, record: false });
    await host.converged();
    const args = ['--etcd:endpoints', endpoints];
    const ofHost = ['--docker:socketPath', engine.socketPath, '--host:ip', '10.0.0.5', '--host:id', 'h1', ...args];
    const outcomes = await Promise.all([
      ...[...Array(4)].map(() => runCommand(['ls', ...args])),
      runCommand(['verify', ...ofHost]),
    ]);
    for (const { code, err, out } of outcomes) assert.equal(code, 0, err + out);
    const { code, out } = await runCommand(['doctor', '-o', 'json', ...ofHost]);
    const { checks } = JSON.parse(out) as { checks: Check[] };
    const of = checks.find(({ name }) => name === `etcd ${learner.endpoint}`);
    assert.deepEqual([code, of?.state], [0, 'warning'], out);
    assert.match(`${of?.seen} ${of?.remedy}`, /is a learner and serves no reads .*member promote/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a proxy of the environment is for the web: etcd is not asked through it (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  let connections = 0;
  const proxy = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  try {
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const names = ['http_proxy', 'https_proxy', 'grpc_proxy', 'all_proxy'].flatMap((name) => [
      name,
      name.toUpperCase(),
    ]);
    const env = { ...Object.fromEntries(names.map((name) => [name, url])), no_proxy: '', NO_PROXY: '' };
    await using engine = await forkEngine({ containers: 2 });
    await using host = await startHost({ source: fromEngine(engine), run: { env } });
    await host.converged();
    await using ls = runDiscover(['ls', '--etcd:endpoints', host.etcd.endpoint], { env });
    assert.deepEqual(await ls.exit, { code: 0, signal: null }, ls.output);
    assert.equal(connections, 0);
  } finally {
    proxy.close();
  }
});

describe('ls, get and watch', { skip: needs('etcd', 'etcdctl') }, () => {
  let etcd: EtcdServer;
  let writer: Writer;
  const [one, other, udp] = [keyOf('web', 1), keyOf('web', 2, { realm: 'blue' }), keyOf('stats-d', 3)];
  before(async () => {
    etcd = await startEtcd();
    writer = startWriter(etcd.endpoint);
    await writer.write(
      new Map([
        [one, 'tcp://10.0.0.5:49153'],
        [other, 'tcp://[2001:db8::5]:49154'],
        [udp, 'udp://10.0.0.5:8125'],
      ]),
    );
  });
  after(async () => {
    await writer[Symbol.asyncDispose]();
    await etcd.close();
  });
  const ask = (...args: string[]): Promise<Outcome> => runCommand([...args, '--etcd:endpoints', etcd.endpoint]);

  test('ls prints all services as a table, as JSON and for a shell; or one, of a realm or a protocol (real etcd)', async () => {
    const [counts, table, json, env, blue, udps] = await Promise.all([
      ask('ls'),
      ask('ls', '--host', 'h1'),
      ask('ls', '-o', 'json'),
      ask('ls', '-o', 'env'),
      ask('ls', 'web', '--realm', 'blue'),
      ask('ls', '--protocol', 'udp', '-o', 'env'),
    ]);
    assert.equal(
      counts.out,
      [
        'SERVICE  INSTANCES  HOSTS  REALMS',
        'stats-d  1          1      default',
        'web      2          1      blue,default',
        '',
      ].join('\n'),
    );
    assert.match((await ask('ls', 'web', '--host', 'h2')).out, /^SERVICE.*\n$/);
    assert.equal(
      table.out,
      [
        'SERVICE  REALM    HOST  CONTAINER     ADDRESS',
        'stats-d  default  h1    000000000003  udp://10.0.0.5:8125',
        'web      blue     h1    000000000002  tcp://[2001:db8::5]:49154',
        'web      default  h1    000000000001  tcp://10.0.0.5:49153',
        '',
      ].join('\n'),
    );
    const listed = JSON.parse(json.out) as { name: string; instances: { key: string; address: string }[] }[];
    assert.deepEqual(
      listed.map(({ name, instances }) => [name, instances.map(({ key, address }) => [key, address])]),
      [
        ['stats-d', [[udp, '10.0.0.5']]],
        [
          'web',
          [
            [other, '2001:db8::5'],
            [one, '10.0.0.5'],
          ],
        ],
      ],
    );
    assert.equal(env.out, "DISCOVERED_STATS_D='10.0.0.5:8125'\nDISCOVERED_WEB='[2001:db8::5]:49154 10.0.0.5:49153'\n");
    assert.match(blue.out, /^SERVICE .*\nweb +blue .*\n$/);
    assert.equal(udps.out, "DISCOVERED_STATS_D='10.0.0.5:8125'\n");
    for (const { code, err } of [counts, table, json, env, blue, udps]) assert.deepEqual([code, err], [0, '']);
  });

  test('ls -o wide and every JSON show what an instance says beside its address, and watch tells when that changes (real etcd)', async () => {
    const key = keyOf('said', 6);
    const metaKey = key.replace('/service/', '/meta/');
    const meta = { weight: 3, tags: ['a', 'b'], zone: 'z', container: 'said-1', image: 'nginx:1.27' };
    const write = (given: object) => writer.write(new Map([[metaKey, JSON.stringify(given)]]));
    await writer.write(new Map([[key, 'tcp://10.0.0.5:6']]));
    await write({ ...meta, attributes: { version: '2' } });
    const [wide, ls, get] = await Promise.all([
      ask('ls', 'said', '-o', 'wide'),
      ask('ls', 'said', '-o', 'json'),
      ask('get', 'said', '-o', 'json'),
    ]);
    assert.equal(
      wide.out,
      [
        'SERVICE  REALM    HOST  ZONE  CONTAINER  IMAGE       WEIGHT  TAGS  ADDRESS',
        'said     default  h1    z     said-1     nginx:1.27  3       a,b   tcp://10.0.0.5:6',
        '',
      ].join('\n'),
    );
    assert.match(
      (await ask('ls', 'stats-d', '-o', 'wide')).out,
      /\nstats-d +default +h1 +- +000000000003 +- +- +- +udp:/,
    );
    for (const found of [JSON.parse(ls.out)[0].instances[0], JSON.parse(get.out)]) {
      assert.deepEqual(
        [found.weight, found.tags, found.container, found.attributes],
        [3, ['a', 'b'], 'said-1', { version: '2' }],
      );
    }
    await using watching = runDiscover(['watch', 'said', '--etcd:endpoints', etcd.endpoint]);
    await eventually(() => assert.match(watching.output, /said/));
    await write({ ...meta, weight: 4 });
    await eventually(() =>
      assert.match(watching.output, /~ said default h1 000000000006 tcp:\S+ weight=4 tags=a,b zone=z\n/),
    );
    await watching.close();
    await writer.write(
      new Map([
        [key, undefined],
        [metaKey, undefined],
      ]),
    );
  });

  test('ls gives no variable to two services that a shell cannot tell apart, and says so (real etcd)', async () => {
    const [dotted, dashed] = [keyOf('web.api', 4), keyOf('web-api', 5)];
    await writer.write(
      new Map([
        [dotted, 'tcp://10.0.0.5:1'],
        [dashed, 'tcp://10.0.0.5:2'],
      ]),
    );
    const { code, err, out } = await ask('ls', '-o', 'env');
    assert.equal(code, 1);
    assert.equal(
      err,
      'discover: services web-api and web.api are not printed: the name in a shell would be DISCOVERED_WEB_API for all\n',
    );
    assert.equal(out, "DISCOVERED_STATS_D='10.0.0.5:8125'\nDISCOVERED_WEB='[2001:db8::5]:49154 10.0.0.5:49153'\n");
    await writer.write(
      new Map([
        [dotted, undefined],
        [dashed, undefined],
      ]),
    );
  });

  test('get prints one address, and in other forms what it is made of (real etcd)', async () => {
    const [text, json, env] = await Promise.all([
      ask('get', 'web', '--realm', 'blue'),
      ask('get', 'web', '--realm', 'default', '-o', 'json'),
      ask('get', 'stats-d', '-o', 'env'),
    ]);
    assert.deepEqual([text.code, text.out, text.err], [0, '[2001:db8::5]:49154\n', '']);
    assert.deepEqual(JSON.parse(json.out), {
      ...{ name: 'web', realm: 'default', host: 'h1', containerId: '000000000001', protocol: 'tcp' },
      ...{ address: '10.0.0.5', port: 49_153, url: 'tcp://10.0.0.5:49153', key: one },
    });
    const parts = ['URL=udp://10.0.0.5:8125', 'ADDRESS=10.0.0.5:8125', 'PROTOCOL=udp', 'HOST=10.0.0.5', 'PORT=8125'];
    assert.equal(env.out, parts.map((part) => `DISCOVERED_STATS_D_${part.replace('=', "='")}'\n`).join(''));
  });

  test('what is not there ends with 1, an etcd that does not answer with 69, a mistake with 78 (real etcd)', async () => {
    const outcomes = await Promise.all([
      ask('ls', 'nobody'),
      ask('get', 'nobody'),
      ask('get', 'web', '--protocol', 'udp'),
      runCommand(['watch', 'web', ...nowhere]),
      runCommand(['verify', ...nowhere, '--docker:socketPath', '/nowhere/docker.sock', '--host:ip', '10.0.0.5']),
      ask('get', 'a/b'),
      ask('get'),
      ask('watch', 'web', '--wait', '5s:1s'),
      ask('ls', '-o', 'xml'),
    ]);
    const codes = [1, 1, 1, 69, 69, 78, 78, 78, 78];
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      codes,
      outcomes.map(({ err }) => err).join(''),
    );
    for (const { code, out, err } of outcomes.slice(1)) {
      assert.equal(out, '');
      assert.match(err, code === 1 ? /^$/ : /^discover: \S/);
    }
    assert.match(String(outcomes[4]?.err), /Docker Engine: connect ENOENT/);
  });

  test('a server that is not etcd, or not in plain, ends a command with the first question (servers of a few lines)', async () => {
    const silent = createServer((socket) => socket.destroy());
    const web = http.createServer((_request, response) => response.end('hello'));
    try {
      for (const server of [silent, web]) {
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const { port } = server.address() as AddressInfo;
        for (const command of ['ls', 'get', 'watch']) {
          const words = command === 'ls' ? [command] : [command, 'web'];
          const { code, err } = await runCommand([...words, '--etcd:endpoints', `127.0.0.1:${port}`]);
          assert.equal(code, 69, err);
          // The client asks for a range, for ten seconds; the question before it is for the status, once.
          assert.match(err, /^discover: etcd at http:\S+: .*write https:\/\/ .*\(status\)\n$/);
        }
      }
    } finally {
      silent.close();
      web.close();
      web.closeAllConnections();
    }
  });

  test('watch prints what is there, then each change, as lines, JSON or for a shell (real etcd)', async () => {
    const as = ['table', 'json', 'env'].map((form) =>
      runDiscover(['watch', 'walker', '-o', form, '--etcd:endpoints', etcd.endpoint]),
    );
    const [lines, json, env] = as;
    const key = keyOf('walker', 7);
    try {
      await eventually(() => assert.match(String(lines?.output), /^SERVICE .*\n$/));
      await eventually(() => assert.deepEqual(json?.logs, [{ name: 'walker', instances: [] }]));
      await eventually(() => assert.equal(env?.output, "DISCOVERED_WALKER=''\n"));
      for (const value of ['tcp://10.0.0.1:1', 'tcp://10.0.0.1:2', undefined]) {
        const [before, beforeJson, beforeEnv] = [lines?.output, json?.logs.length ?? 0, env?.output];
        await writer.write(new Map([[key, value]]));
        // All three before the next change: one that is late sees two changes as one, and what comes to nothing not at all.
        await eventually(() => assert.notEqual(lines?.output, before));
        await eventually(() => assert.equal(json?.logs.length, beforeJson + 1));
        await eventually(() => assert.notEqual(env?.output, beforeEnv));
      }
      const rest = 'walker default h1 000000000007 tcp://10.0.0.1';
      await eventually(() =>
        assert.deepEqual(lines?.output.split('\n').slice(1), [`+ ${rest}:1`, `~ ${rest}:2`, `- ${rest}:2`, '']),
      );
      const urls = json?.logs.map(({ instances }) => (instances as { url: string }[]).map(({ url }) => url));
      assert.deepEqual(urls, [[], ['tcp://10.0.0.1:1'], ['tcp://10.0.0.1:2'], []]);
      await eventually(() =>
        assert.equal(
          env?.output,
          "DISCOVERED_WALKER=''\nDISCOVERED_WALKER='10.0.0.1:1'\nDISCOVERED_WALKER='10.0.0.1:2'\nDISCOVERED_WALKER=''\n",
        ),
      );
    } finally {
      for (const running of as) await running.close();
    }
  });

  test('watch --exec runs once for the changes within the wait, and not for what comes to nothing (real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-watch-'));
    const file = path.join(directory, 'runs');
    const [a, b] = [keyOf('mover', 1), keyOf('mover', 2)];
    await writer.write(new Map([[a, 'tcp://10.0.0.1:1']]));
    const args = ['watch', 'mover', '--wait', '300ms:10s', '--etcd:endpoints', etcd.endpoint];
    // A second watcher says when the first has had time to hear of something, too.
    await using witness = runDiscover(['watch', 'mover', '-o', 'json', '--etcd:endpoints', etcd.endpoint]);
    await using running = runDiscover([...args, '--exec', `echo "$DISCOVERED" >> ${file}; cat >> ${file}; exit 3`]);
    const runs = (): string[] => {
      try {
        return readFileSync(file, 'utf8').split('\n').filter(Boolean);
      } catch {
        return []; // It has not run yet.
      }
    };
    const put = (...changes: [string, string | undefined][]): Promise<void> => writer.write(new Map(changes));
    try {
      await eventually(() => assert.equal(witness.logs.length, 1));
      // Whether it listens yet shows in nothing but a run: the first change is repeated until there is one.
      let port = 1;
      await eventually(
        async () => {
          await put([b, `tcp://10.0.0.2:${++port}`]);
          assert.ok(runs().length >= 2, 'The line has not run');
        },
        { everyMs: 700 },
      );
      const settled = `10.0.0.1:1 10.0.0.2:${port}`;
      await eventually(() => assert.equal(runs().at(-2), settled));
      const begun = runs().length;
      // The same again, and there and back: each of these would run it within the time the last change takes.
      await put([a, 'tcp://10.0.0.1:1']);
      await put([a, 'tcp://10.0.0.1:9']);
      await put([a, 'tcp://10.0.0.1:1']);
      await eventually(() =>
        assert.ok(JSON.stringify(witness.logs).includes('10.0.0.1:9'), 'The witness has not seen it'),
      );
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      assert.equal(runs().length, begun, 'It ran for a set that is as it was');
      // Three within one wait.
      await put([a, 'tcp://10.0.0.1:3']);
      await put([b, undefined]);
      await put([a, 'tcp://10.0.0.1:4']);
      await eventually(() => assert.equal(runs().at(-2), '10.0.0.1:4'));
      assert.equal(runs().length, begun + 2);
      const handed = JSON.parse(String(runs().at(-1))) as { name: string; instances: { key: string }[] };
      assert.deepEqual([handed.name, handed.instances.map(({ key }) => key)], ['mover', [a]]);
      await eventually(() => assert.match(running.output, /: ended with 3\n/));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('a name that would steer a terminal or a shell is printed without doing either (real etcd)', async () => {
    const hostile = "a\u202eb'$(touch x)";
    const [key = '', ...others] = [hostile, 'a\u001b[31m', 'a\nb', 'a\u2028b'].map(
      (name) => `/discover/service/${name}/default/h1/00000000000a`,
    );
    const all = [key, ...others];
    await writer.write(new Map(all.map((one) => [one, 'tcp://10.0.0.1:1'])));
    const [table, json, env] = await Promise.all([ask('ls'), ask('ls', '-o', 'json'), ask('ls', '-o', 'env')]);
    await writer.write(new Map(all.map((one) => [one, undefined])));
    for (const { out, err } of [table, json, env]) assert.doesNotMatch(out + err, /\u001b/);
    assert.match(table.out, /^a\u{fffd}b'\$\(touch x\) /mu);
    assert.match(env.out, /^DISCOVERED_A_B_TOUCH_X_='10\.0\.0\.1:1'$/m);
    // What no agent writes is no instance.
    const odd = (JSON.parse(json.out) as { name: string }[]).filter(({ name }) => name.startsWith('a'));
    assert.deepEqual(
      odd.map(({ name }) => name),
      [hostile],
    );
  });

  test('help names the words and options of each command (no etcd)', async () => {
    for (const name of ['ls', 'get', 'watch', 'verify', 'doctor']) {
      const { code, out } = await runCommand(['help', name]);
      assert.equal(code, 0);
      assert.ok(out.includes(String(commandTable[name]?.description)), out);
      assert.match(out, /--output/);
    }
  });
});

describe('verify and doctor', { skip: needs('etcd', 'etcdctl') }, () => {
  interface Verified {
    readonly exact: boolean;
    readonly containers: number;
    readonly keys: number;
    readonly differences: { kind: string; key: string; expected?: string; found?: string }[];
    readonly unknown: { container: string }[];
  }
  test('verify finds what is missing, wrong and left over; doctor which path and which right is refused (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 3 });
    const socketPath = `${engine.socketPath}.front`;
    await using front = await startFront(engine.socketPath, socketPath);
    await using host = await startHost({ source: fromEngine(engine), ttl: 600, record: false });
    const { etcd } = host;
    await host.converged();
    const args = ['--host:ip', '10.0.0.5', '--host:id', 'h1', '--etcd:endpoints', etcd.endpoint];
    const ask = (name: string, ...more: string[]): Promise<Outcome> =>
      runCommand([name, '-o', 'json', '--docker:socketPath', socketPath, ...args, ...more]);
    const verify = async (): Promise<Verified & { code: number | null }> => {
      const { code, out, err } = await ask('verify');
      assert.notEqual(out, '', err);
      return { code, ...(JSON.parse(out) as Verified) };
    };
    const doctor = async (...more: string[]): Promise<{ code: number | null; checks: Check[]; bad: string[] }> => {
      const { code, out, err } = await ask('doctor', ...more);
      assert.notEqual(out, '', err);
      const { checks } = JSON.parse(out) as { checks: Check[] };
      return { code, checks, bad: checks.filter(({ state }) => state === 'failed').map(({ name }) => name) };
    };

    const exact = await verify();
    assert.deepEqual([exact.code, exact.exact, exact.containers, exact.differences], [0, true, 3, []]);
    const planned = JSON.parse((await ask('plan')).out) as { exact: boolean; steps: object[] };
    assert.deepEqual([planned.exact, planned.steps], [true, []]);
    // In another realm it would be a new set of keys in the place of those.
    const moved = await ask('plan', '--host:realm', 'blue');
    const { steps } = JSON.parse(moved.out) as { steps: { action: string; key: string }[] };
    const count = (action: string, realm: string): number =>
      steps.filter((step) => step.action === action && step.key.includes(`/${realm}/h1/`)).length;
    const keys = exact.keys - exact.containers;
    assert.deepEqual([moved.code, count('put', 'blue'), count('delete', 'default')], [1, keys, keys], moved.out);
    const well = await doctor();
    assert.deepEqual([well.code, well.bad], [0, []], JSON.stringify(well.checks));
    assert.match(String(well.checks.find(({ name }) => name === 'owner')?.seen), /alive here as process \d+/);

    // A command with the configuration of another realm would look for other keys than the agent writes.
    const blue = ['--host:realm', 'blue'];
    const [{ id = '' } = {}] = await engine.snapshot();
    for (const asked of [ask('verify', ...blue), ask('why', id, ...blue)]) {
      const { code, err } = await asked;
      assert.equal(code, 1);
      assert.match(err, /host\.realm is blue here, and default for the agent of this host: give this command/);
    }
    const other = (await doctor(...blue)).checks.find(({ name }) => name === 'owner');
    assert.deepEqual([other?.state, /publishes in realm default/.test(String(other?.seen))], ['warning', true]);

    // Nobody mends what is broken now.
    host.discover.signal('SIGSTOP');
    const published = [...(await host.held()).keys()].filter((key) => key.includes('/service/')).sort();
    const [missing = '', wrong = '', elsewhere = ''] = published;
    const leftOver = '/discover/host/h1/aaaaaaaaaaaa';
    // On no lease and in no record: readers find it all the same.
    const strays = ['service/web/default', 'service/web/blue', 'meta/web/default'].map(
      (kind) => `/discover/${kind}/h1/bbbbbbbbbbbb`,
    );
    await etcd.ctl('del', missing);
    await etcd.ctl('put', '--ignore-lease', wrong, 'tcp://192.0.2.1:1');
    await etcd.ctl('put', elsewhere, 'tcp://192.0.2.1:2');
    await etcd.ctl('put', leftOver, '{}');
    for (const key of strays) await etcd.ctl('put', key, 'tcp://192.0.2.1:3');
    const broken = await verify();
    assert.deepEqual(
      [broken.code, broken.differences.map(({ kind, key, found }) => [kind, key, found]).sort()],
      [
        1,
        [
          ['left-over', leftOver, undefined],
          ...strays.map((key) => ['left-over', key, undefined]),
          ['missing', missing, undefined],
          ['wrong', elsewhere, undefined],
          ['wrong', wrong, 'tcp://192.0.2.1:1'],
        ].sort(),
      ],
    );

    // A proxy that lets nobody inspect: unknown, and no difference; and doctor names the path.
    front.answer = (url) => (/[0-9a-f]{64}\/json/.test(url) ? status(403) : undefined);
    const blind = await verify();
    assert.deepEqual([blind.code, blind.unknown.length], [1, 3]);
    assert.deepEqual(blind.differences.map(({ key }) => key).sort(), [leftOver, ...strays].sort());
    const refused = await doctor();
    assert.deepEqual([refused.code, refused.bad], [1, ['docker inspect']]);
    assert.match(
      String(refused.checks.find(({ name }) => name === 'docker inspect')?.remedy),
      /containers\/<id>\/json/,
    );
    front.answer = () => undefined;

    // A role that may only read; nothing is written by asking, and a member that is away is told of.
    await etcd.ctl('user', 'add', 'root:root-secret');
    await etcd.ctl('user', 'grant-role', 'root', 'root');
    await etcd.ctl('role', 'add', 'reader');
    await etcd.ctl('role', 'grant-permission', 'reader', '--prefix=true', 'read', '/discover/');
    await etcd.ctl('user', 'add', 'reader:secret');
    await etcd.ctl('user', 'grant-role', 'reader', 'reader');
    const revision = await etcd.revision();
    await etcd.ctl('auth', 'enable');
    const file = path.join(path.dirname(socketPath), 'password');
    writeFileSync(file, 'secret');
    const user = ['--etcd:username', 'reader', '--etcd:passwordFile', file];
    const reader = await doctor(...user, '--etcd:endpoints', `${etcd.endpoint},127.0.0.1:1`);
    const stranger = await doctor();
    const withMeta = await doctor(...user, '--host:zone', 'rack-1');
    await etcd.ctl('--user=root:root-secret', 'auth', 'disable');
    assert.deepEqual([reader.code, reader.bad], [1, ['etcd write']]);
    assert.match(
      String(reader.checks.find(({ name }) => name === 'etcd write')?.seen),
      /denied for \/discover\/owner\/h1, /,
    );
    assert.equal(reader.checks.find(({ name }) => name.endsWith(':1'))?.state, 'warning');
    const denied = String(withMeta.checks.find(({ name }) => name === 'etcd write')?.seen);
    assert.match(denied, /, \/discover\/meta\/discover-doctor\/default\/h1\/0{12}/);
    assert.deepEqual(stranger.bad, ['etcd read', 'etcd write']);
    assert.equal(await etcd.revision(), revision);
  });

  test('verify and doctor find a host well (real Docker, real etcd)', {
    skip: needs('dockerd', 'docker', 'root'),
  }, async () => {
    await using dockerd = await startDockerd();
    await dockerd.run({ env: { DISCOVER: 'web:80,dns:53/udp' }, ports: [80, '53/udp'] });
    await using host = await startHost({ source: fromDockerd(dockerd), record: false });
    await host.converged();
    const args = ['--docker:socketPath', dockerd.socketPath, '--etcd:endpoints', host.etcd.endpoint];
    const here = [...args, '--host:ip', '10.0.0.5', '--host:id', 'h1'];
    const verified = await runCommand(['verify', ...here]);
    assert.deepEqual([verified.code, verified.out], [0, 'exact: 3 keys of 1 containers of h1\n'], verified.err);
    const { code, out } = await runCommand(['doctor', ...here]);
    assert.equal(code, 0, out);
    for (const name of ['docker', 'docker list', 'docker inspect', 'docker events', 'clock', 'etcd write', 'owner']) {
      assert.match(out, new RegExp(`^ok +${name} `, 'm'));
    }
  });

  test('doctor goes on where nothing answers, and says it all in one table (nothing but discover is real)', async () => {
    const { code, out } = await runCommand([
      'doctor',
      ...nowhere,
      '--host:ip',
      '10.0.0.5',
      '--docker:socketPath',
      '/nowhere/s',
    ]);
    assert.equal(code, 1);
    assert.match(out, /^failed +docker +.*ENOENT \/nowhere\/s$/m);
    assert.match(out, /^failed +etcd http:\/\/127\.0\.0\.1:1 +.*connection refused/m);
    assert.match(out, /^warning +host\.ip +10\.0\.0\.5 \(command line\) is on no interface here$/m);
    const mistake = await runCommand(['doctor', '--host:ip', 'nonsense']);
    assert.equal(mistake.code, 78);
    assert.match(mistake.out, /^failed +configuration +host\.ip .*"nonsense"$/m);
  });
});

test('health ends with 0, 1, 69 or 78 for well, not well, nobody there and nowhere to ask (simulated agent)', async () => {
  const server = http.createServer(({ url }, response) => response.writeHead(url === '/healthz' ? 200 : 503).end(url));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const listen = ['--http:listen', `127.0.0.1:${port}`];
  const [well, notReady, nobody, unset] = await Promise.all([
    runCommand(['health', ...listen]),
    runCommand(['health', '--ready', ...listen]),
    runCommand(['health', '--http:listen', '127.0.0.1:1']),
    runCommand(['health']),
  ]);
  server.close();
  assert.deepEqual(well, { code: 0, out: '/healthz\n', err: '' });
  assert.deepEqual(notReady, { code: 1, out: '/readyz\n', err: '' });
  assert.deepEqual([nobody.code, nobody.out, unset.code, unset.out], [69, '', 78, '']);
  assert.match(nobody.err, /^discover: .* 127\.0\.0\.1:1 .*ECONNREFUSED.*\n$/);
  assert.match(unset.err, /^discover: Cannot use the configuration:\n {2}http\.listen must be set.*\n$/);
});
