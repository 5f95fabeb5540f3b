/** What the benchmark's figures are made of: percentiles, exactness, latencies, medians and ratios. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judged, judgePairs } from '../../bench/guard.ts';
import { transactionFigures } from '../../bench/lib/bench.ts';
import { deviationOf, latenciesOf, Pursuit } from '../../bench/lib/exact.ts';
import { field, fields, Messages, numberField } from '../../bench/lib/grpc.ts';
import { discoverLayout, expectedKeys, readLayout, withServiceVariables } from '../../bench/lib/layout.ts';
import { Lives } from '../../bench/lib/lives.ts';
import { cpuMsOf, type Figures, percentile, usageOf } from '../../bench/lib/measure.ts';
import { judge } from '../../bench/lib/pairs.ts';
import { placed, readPeer } from '../../bench/lib/peer.ts';
import { figuresOf, goalsOf, inexactOf, type Row, tableOf } from '../../bench/lib/report.ts';
import { type Judged, type Look, verdictsOf } from '../../bench/lib/soak.ts';

const layout = discoverLayout();
const id = (digit: string): string => digit.repeat(64);
const shortId = (digit: string): string => digit.repeat(12);
const serviceKey = (digit: string): string => `/discover/service/web/default/h1/${shortId(digit)}`;
const recordKey = (digit: string): string => `/discover/host/h1/${shortId(digit)}`;

test('percentile is the nearest rank, whatever the order', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(values, 0.5), 50);
  assert.equal(percentile(values, 0.99), 99);
  assert.equal(percentile(values, 1), 100);
  assert.equal(percentile(values, 0), 1);
  assert.equal(percentile([10, 9], 0.5), 9);
  assert.equal(percentile([7], 0.99), 7);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test('usageOf reads CPU and memory of a process, and zeros of one that is not', () => {
  assert.equal(cpuMsOf('1 (a) b) S 1 1 1 0 -1 4194304 1 0 0 0 12 30 0 0 20 0 1 0'), 420);
  const { peakMb, rssMb } = usageOf(process.pid);
  assert.ok(rssMb > 10 && peakMb >= rssMb);
  assert.deepEqual(usageOf(2 ** 30), { cpuMs: 0, rssMb: 0, peakMb: 0 });
});

test('expectedKeys holds a service and a record for each running container that has its port published', () => {
  const container = {
    name: 'n',
    env: ['A=1', 'DISCOVER=web:80, api:81'],
    labels: {},
    startedAt: '1',
    address: '172.17.0.9',
  };
  const ports = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '4000' }], '81/tcp': null };
  const keys = expectedKeys(
    [
      { ...container, id: id('a'), state: 'running', ports },
      { ...container, id: id('b'), state: 'exited', ports },
      { ...container, id: id('c'), state: 'running', ports: {} },
    ],
    layout,
  );
  assert.deepEqual(
    [...keys],
    [
      [serviceKey('a'), 'tcp://10.0.0.5:4000'],
      [recordKey('a'), JSON.stringify({ web: serviceKey('a') })],
    ],
  );
});

test('expectedKeys holds the address of the container itself where that is asked for', () => {
  const ports = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '4000' }] };
  const container = { name: 'n', env: ['DISCOVER=web:80'], labels: {}, startedAt: '1', address: '172.17.0.9', ports };
  const keys = expectedKeys([{ ...container, id: id('a'), state: 'running' }], discoverLayout('h1', 'container'));
  assert.equal(keys.get(serviceKey('a')), 'tcp://172.17.0.9:80');
});

test('deviationOf finds what is missing, stale and wrong, and passes over the owner key', () => {
  const expected = new Map([
    [serviceKey('a'), '1'],
    [serviceKey('b'), '2'],
    [serviceKey('c'), '3'],
  ]);
  const found = new Map([
    [serviceKey('a'), '1'],
    [serviceKey('b'), 'other'],
    [recordKey('d'), '{}'],
    ['/discover/owner/h1', '{}'],
  ]);
  assert.deepEqual(deviationOf(expected, found, layout), { missing: 1, stale: 1, wrong: 1 });
  assert.deepEqual(deviationOf(expected, expected, layout), { missing: 0, stale: 0, wrong: 0 });
});

test('Pursuit notes when etcd last came to hold what it must', () => {
  const pursuit = new Pursuit(new Map([[serviceKey('a'), '1']]), new Map([[serviceKey('b'), '2']]), layout);
  pursuit.apply({ at: 1, key: serviceKey('a'), value: '1' });
  assert.equal(pursuit.isExact, false);
  pursuit.apply({ at: 2, key: serviceKey('b'), value: undefined });
  pursuit.apply({ at: 3, key: serviceKey('c'), value: '3' });
  assert.equal(pursuit.isExact, false);
  pursuit.apply({ at: 4, key: serviceKey('c'), value: undefined });
  pursuit.apply({ at: 5, key: '/discover/owner/h1', value: '{}' });
  assert.equal(pursuit.isExact, true);
  assert.equal(pursuit.exactAtMs, 4);
});

/** Of a container that runs, with its services published on 4000, 4001, ... */
function lifeOf(digit: string, advertisement = 'web:80', labels = {}) {
  const bound = [...advertisement.matchAll(/:(\d+)/g)].map(([, port], index) => [
    `${port}/tcp`,
    [{ HostIp: '0.0.0.0', HostPort: String(4000 + index) }],
  ]);
  const env = [`DISCOVER=${advertisement}`];
  const place = {
    id: id(digit),
    name: `c_${digit}`,
    address: '172.17.0.9',
    startedAt: '1',
    ports: Object.fromEntries(bound),
  };
  return { id: id(digit), env, ports: {}, truth: { ...place, env, labels, state: 'running' as const } };
}

test('latenciesOf times the first put and the last delete, and counts who was never seen', () => {
  const lives = [
    { ...lifeOf('a'), startedMs: 10, endedMs: 20 },
    { ...lifeOf('b'), startedMs: 10 },
    { ...lifeOf('c'), startedMs: 10, endedMs: 11 },
  ];
  const events = [
    { at: 12, key: serviceKey('a'), value: '1' },
    { at: 13, key: recordKey('b'), value: '{}' },
    { at: 15, key: serviceKey('b'), value: '1' },
    { at: 16, key: serviceKey('b'), value: '2' },
    { at: 24, key: serviceKey('a'), value: undefined },
  ];
  const found = latenciesOf(lives, events, layout);
  assert.deepEqual(found, { publishMs: [2, 5], unpublishMs: [4], neverSeen: 1 });
});

test('latenciesOf waits for the last of several services, and passes over a container that offers none', () => {
  const lives = [
    { ...lifeOf('a', 'web:80,api:81'), startedMs: 10, endedMs: 20 },
    { ...lifeOf('b', 'web:80,api:81'), startedMs: 10 },
    { ...lifeOf('c', ''), startedMs: 10, endedMs: 11 },
  ];
  const apiKey = (digit: string): string => serviceKey(digit).replace('/web/', '/api/');
  const events = [
    { at: 12, key: serviceKey('a'), value: '1' },
    { at: 13, key: serviceKey('b'), value: '1' },
    { at: 15, key: apiKey('a'), value: '1' },
    { at: 24, key: serviceKey('a'), value: undefined },
    { at: 27, key: apiKey('a'), value: undefined },
  ];
  assert.deepEqual(latenciesOf(lives, events, layout), { publishMs: [5], unpublishMs: [7], neverSeen: 1 });
});

test('A label takes the place of the variable, and a port that is published on one address has its value', () => {
  const { truth } = lifeOf('a', 'web:80', { discover: 'api:80' });
  const ports = { '80/tcp': [{ HostIp: '2001:db8::7', HostPort: '4000' }] };
  const keys = expectedKeys([{ ...truth, ports }], layout);
  assert.equal(keys.get(serviceKey('a').replace('/web/', '/api/')), 'tcp://[2001:db8::7]:4000');
  assert.equal(keys.size, 2);
});

test("A layout of registrator and a template of one's own map the keys of a peer to containers", () => {
  const { truth } = lifeOf('a', 'web:80,api:81');
  assert.deepEqual(Object.fromEntries(expectedKeys([truth], readLayout('registrator', 'box'))), {
    '/services/web/box:c_a:80': '10.0.0.5:4000',
    '/services/api/box:c_a:81': '10.0.0.5:4001',
  });
  assert.deepEqual(
    [...expectedKeys([truth], readLayout('registrator-internal', 'box')).values()],
    ['172.17.0.9:80', '172.17.0.9:81'],
  );
  const own = readLayout('/nodes/{host}/{short-id}/{service}={"at":"{ip}:{host-port}"}', 'box');
  assert.deepEqual([...expectedKeys([truth], own)][0], [`/nodes/h1/${shortId('a')}/web`, '{"at":"10.0.0.5:4000"}']);
  assert.deepEqual([own.prefix, own.isOfContainer('/nodes/x'), own.isOfContainer('/other')], ['/nodes/', true, false]);
  const life = { ...lifeOf('a'), startedMs: 10 };
  const event = { at: 14, key: `/nodes/h1/${shortId('a')}/web`, value: 'x' };
  assert.deepEqual(latenciesOf([life], [event], own).publishMs, [4]);
  assert.deepEqual(withServiceVariables({ env: ['DISCOVER=service-{n}:8080'] }).env, [
    'DISCOVER=service-{n}:8080',
    'SERVICE_8080_NAME=service-{n}',
  ]);
});

test('A peer is a command with placeholders, quotes and an environment', () => {
  const command = `A=1 DOCKER_HOST={docker} ${process.execPath} 'a b' "{etcd}/{prefix}" -ip={ip} ''`;
  const peer = readPeer(command, 'registrator', 'box');
  assert.equal(peer.name, 'node');
  const place = { docker: 'unix:///d', socket: '/d', etcd: 'http://e', 'etcd-address': 'e', prefix: 'services' };
  assert.deepEqual(placed(peer, { ...place, ip: '10.0.0.5', host: 'h1' }), {
    words: [process.execPath, 'a b', 'http://e/services', '-ip=10.0.0.5', ''],
    environment: { A: '1', DOCKER_HOST: 'unix:///d' },
  });
});

test('A peer or a layout that cannot be is refused with what is wrong with it', () => {
  for (const [command, layoutText, said] of [
    ['node', 'registrater', /^--layout: must be one of registrator, registrator-internal, discover, or KEY=VALUE$/],
    ['node', '/a/{service}={ip}', /^--layout: needs \{id\}, \{short-id\} or \{name\} in its key$/],
    ['node', '{id}={ip}', /^--layout: must begin with what all of its keys begin with/],
    ['node', '/a/{id}={host-prot}', /^--layout: \{host-prot\} is none of service, id, short-id, /],
    ['', 'discover', /^--peer: names no program$/],
    ['A=1', 'discover', /^--peer: names no program$/],
    ['no-such-program -a', 'discover', /^--peer: no-such-program is no program that is installed here$/],
    ['./no-such-file', 'discover', /^--peer: \.\/no-such-file is no program/],
    ['node {dokcer}', 'discover', /^--peer: \{dokcer\} is none of docker, socket, etcd, /],
    ['X={y} node', 'discover', /^--peer: \{y\} is none of/],
    ["node 'a", 'discover', /^--peer: has a ' that is not closed$/],
  ] as const)
    assert.throws(() => readPeer(command, layoutText, 'box'), { message: said }, `${command} ${layoutText}`);
});

test('transactionFigures takes the changes of one revision for one transaction', () => {
  const changes = [2, 2, 2, 3].map((revision) => ({ at: 0, key: '', value: '', revision }));
  assert.deepEqual(transactionFigures(changes), { transactions: 2, keysPerTransaction: 2, largest: 3 });
});

test('gRPC messages and protobuf fields come back as they were written, however they are cut', () => {
  const message = Buffer.concat([
    numberField(3, 2 ** 40 + 5),
    field(5, 'ä'.repeat(100)),
    field(2, numberField(1, 300)),
  ]);
  const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
  assert.ok(message.length < 256);
  const messages = new Messages();
  const whole = [...Buffer.concat([framed, framed])].flatMap((byte) => messages.push(Buffer.from([byte])));
  assert.equal(whole.length, 2);
  const read = [...fields(whole[1] ?? Buffer.alloc(0))];
  assert.deepEqual(
    read.map(([number]) => number),
    [3, 5, 2],
  );
  assert.equal(read[0]?.[1], 2 ** 40 + 5);
  assert.equal(read[1]?.[2].toString(), 'ä'.repeat(100));
  assert.deepEqual([...fields(read[2]?.[2] ?? Buffer.alloc(0))][0]?.slice(0, 2), [1, 300]);
});

const row = (subject: string, value: number, exact = 'yes', point = 200): Row => ({
  ...{ point, subject },
  figures: { publishP99Ms: value, cpuMsEach: value, exact },
});

test('A table shows the median of the repeats and the ratios, and one inexact repeat is enough', () => {
  const rows = [
    row('discover', 6),
    row('discover', 2, '3 stale'),
    row('discover', 4),
    row('naive', 8),
    row('floor', 2),
  ];
  assert.deepEqual(figuresOf(rows, 200, 'discover'), { publishP99Ms: 4, cpuMsEach: 4, exact: '3 stale' });
  const columns = 'publishP99Ms* cpuMsEach exact';
  const bench = { name: 'n', question: 'q', axis: 'rate', points: [], seconds: 1, columns, measure: async () => ({}) };
  const lines = tableOf(bench, rows).split('\n');
  assert.ok(lines.some((line) => /200 +discover +4 +4 +3 stale/.test(line)));
  assert.ok(lines.some((line) => /\/ naive +x0\.50$/.test(line)));
  assert.ok(lines.some((line) => /\/ floor +x2$/.test(line)));
  assert.equal(inexactOf(rows), 1);
  const others = [row('naive', 1, '2 missing'), { ...row('mine', 1, 'failed'), isPeer: true as const }];
  assert.equal(inexactOf([...others, row('labels', 1, '1 missing')]), 1, 'A shape is discover, a peer is not');
});

test('A goal is a ratio, met or missed by the median of three pairs, and one that was not measured is left out', () => {
  const rows = [4, 5, 9].flatMap((value, round) => [
    row('discover', value),
    row('naive', [8, 20, 10][round] ?? 0),
    row('floor', 2),
  ]);
  const text = goalsOf({ about: {}, benches: [{ name: 'churn', rows }] });
  assert.match(text, /^met {5}churn 200 cpuMsEach \/ naive <= 0\.5: 0\.50 \(pairs 0\.50 0\.25 0\.90\)$/m);
  assert.match(text, /^MISSED {2}churn 200 publishP99Ms \/ floor <= 1\.5: 2\.50 /m);
  assert.match(text, /^met {5}no key missing/m);
  assert.doesNotMatch(text, /idle|throughput/);
});

test('A ratio of fewer than three pairs is shown and not judged, and neither are times of a machine', () => {
  const rows = [row('discover', 4), row('naive', 8), row('floor', 1), row('discover', 4), row('floor', 1)];
  const idle = [{ point: 1_000, subject: 'discover', figures: { cpuPercent: 9, revisions: 1, rssMb: 100 } }];
  const text = goalsOf({
    about: { machine: '2 x slow' },
    benches: [
      { name: 'churn', rows },
      { name: 'idle', rows: idle },
    ],
  });
  assert.match(text, /^- {7}churn 200 publishP99Ms \/ floor <= 1\.5: 4, not judged: it takes 3 pairs .*, of 2$/m);
  assert.match(text, /^- {7}churn 200 cpuMsEach \/ naive <= 0\.5: 0\.50, not judged: .*, of 1$/m);
  assert.match(text, /^MISSED {2}idle 1000 revisions <= 0: 1$/m, 'A count is the same on any machine');
  assert.match(text, /^of this machine alone, 2 x slow\n\nhere {4}churn 200 publishP99Ms: 4\n/m);
  assert.match(text, /^here {4}idle 1000 cpuPercent: 9$/m);
});

test('A soak is judged by the medians of its first and its last third, and one odd look says nothing', () => {
  const quiet: Look = {
    ...{ seconds: 1, events: 8, heapMb: 20, buffersMb: 20, rssMb: 100 },
    ...{ connections: 8, descriptors: 40, timers: 4, handles: 20, listeners: 100, off: 0 },
  };
  const growing = (what: Judged, to: (index: number) => number): string[] =>
    verdictsOf(Array.from({ length: 60 }, (_, index) => ({ ...quiet, [what]: to(index) })))
      .filter(({ grows }) => grows)
      .map((verdict) => verdict.what);
  assert.deepEqual(
    growing('heapMb', () => 20),
    [],
  );
  assert.deepEqual(
    growing('heapMb', (index) => 20 + index * 0.02),
    [],
    'By 4 % between the middles of the thirds',
  );
  assert.deepEqual(
    growing('heapMb', (index) => 20 + index * 0.03),
    ['heapMb'],
    'By 6 %',
  );
  assert.deepEqual(
    growing('heapMb', (index) => (index > 55 ? 90 : 20)),
    [],
  );
  assert.deepEqual(
    growing('heapMb', (index) => 40 - index * 0.3),
    [],
  );
  assert.deepEqual(
    growing('descriptors', (index) => 40 + index * 0.25),
    ['descriptors'],
  );
  assert.deepEqual(
    growing('timers', (index) => 4 + (index % 2)),
    [],
  );
  assert.deepEqual(
    growing('timers', (index) => 4 + index / 10),
    ['timers'],
  );
  assert.equal(verdictsOf([quiet, quiet]).filter(({ grows }) => grows).length, 7, 'Two looks say nothing');
});

test('A life goes on from one measurement to the next, and is replaced by a new one once it was found wrong or has failed', async () => {
  const lives = new Lives<AsyncDisposable>();
  const [opened, ended]: [string[], string[]] = [[], []];
  const measure = (name: string, outcome: () => Figures) =>
    lives.measure(
      name,
      async () => {
        const life = `${name}${opened.filter((other) => other.startsWith(name)).length}`;
        opened.push(life);
        return { [Symbol.asyncDispose]: async () => void ended.push(life) };
      },
      async () => outcome(),
    );
  await measure('a', () => ({ exact: 'yes' }));
  await measure('a', () => ({ exact: 'yes, 3 never seen' }));
  await measure('b', () => ({ exact: 'yes' }));
  assert.deepEqual([opened, ended], [['a0', 'b0'], []]);
  assert.deepEqual(await measure('a', () => ({ exact: '1 stale' })), { exact: '1 stale' });
  assert.deepEqual(ended, ['a0']);
  await measure('a', () => ({ exact: 'yes', note: 'has ended' }));
  const failed = new Error('no answer');
  await assert.rejects(
    measure('a', () => {
      throw failed;
    }),
    failed,
  );
  assert.deepEqual(ended, ['a0', 'a1', 'a2']);
  await measure('a', () => ({ exact: 'yes' }));
  await lives.end();
  assert.deepEqual(opened, ['a0', 'b0', 'a1', 'a2', 'a3']);
  assert.deepEqual(ended, ['a0', 'a1', 'a2', 'b0', 'a3']);
});

test('Pairs are judged a loss only where they are worse by more than the tolerance and by more than their own noise', () => {
  const kindOf = (...ratios: number[]): string => judge(ratios, 0.05).kind;
  assert.equal(kindOf(1.2, 1.21, 1.19, 1.2, 1.22), 'loss');
  assert.equal(kindOf(1.03, 1.03, 1.031, 1.03, 1.029), 'within the noise', 'Agreed on, but within the tolerance');
  assert.equal(kindOf(1.2, 0.7, 1.9, 1.3, 0.9), 'within the noise', 'Worse in the median, but the pairs do not agree');
  assert.equal(kindOf(0.8, 0.81, 0.79, 0.8, 0.8), 'gain');
  assert.equal(kindOf(1, 1, 1), 'within the noise', 'Without any noise the tolerance is left');
  assert.equal(kindOf(1.2, 1.3, 1.4), 'within the noise', 'Three pairs that lie this far apart are too few');
  assert.equal(kindOf(1.2, 1.3, 1.4, 1.2, 1.3, 1.4), 'loss', 'More of the same are enough');
  assert.equal(kindOf(2, 6, 3), 'loss', 'However far apart, each is worse by more than half');
  assert.equal(kindOf(0.06, 0.16, 0.17), 'gain');
  assert.equal(kindOf(1.4, 6, 3), 'within the noise');
  assert.equal(judge([2, 6, 3], 2).kind, 'within the noise', 'Not each is beyond the tolerance');
  assert.equal(judge([1.5, 1, 2, 1.6], 0.05).ratio, 1.55, 'The middle of an even number');
});

test('Pairs are not judged where there are fewer than three, or one could not be measured', () => {
  assert.equal(judge([2, 2], 0.05).kind, 'not judged');
  assert.equal(judge([], 0.05).kind, 'not judged');
  assert.equal(judge([2, 2, Number.NaN], 0.05).kind, 'not judged');
  assert.equal(judge([2, 2, 0], 0.05).kind, 'not judged');
});

test('The noise of pairs is that of their mean: four times as many of the same spread halve it', () => {
  const spread = [0.9, 1.1];
  const of = (count: number): number =>
    judge(
      Array.from({ length: count }, (_, index) => spread[index % 2] ?? 1),
      0.05,
    ).noise;
  // Student's t of 3 and of 15 degrees of freedom is another, too.
  assert.ok(of(16) < of(4) / 2 && of(16) > 0.05);
});

/** Five pairs in which discover's figures are multiples of the other's. */
function pairsOf(multiple: Readonly<Record<string, number>>) {
  const benches = [...new Set(judged.map(({ bench }) => bench))];
  return benches.map(({ name }) => ({
    name,
    rows: judged
      .filter(({ bench }) => bench.name === name)
      .flatMap(({ point }) =>
        Array.from({ length: 5 }, (_, pair) =>
          ['discover', 'before'].map((subject): Row => {
            const shaken = (figure: string): number =>
              (1 + pair / 1_000) * (subject === 'discover' ? (multiple[`${figure} ${point}`] ?? 1) : 1);
            const names = 'publishP50Ms publishP99Ms cpuMsEach etcdCpuMsEach peakMb lifecyclesPerSecond allVisibleMs';
            return {
              point,
              subject,
              figures: Object.fromEntries(names.split(' ').map((each) => [each, shaken(each)])),
            };
          }),
        ).flat(),
      ),
  }));
}

test('The guard fails on a loss of any figure it judges, and names it', () => {
  assert.equal(judgePairs(judged, pairsOf({}), 'before').failed, false);
  for (const [figure, name] of [
    ['publishP50Ms 200', 'publish p50 at 200/s'],
    ['publishP99Ms 200', 'publish p99 at 200/s'],
    ['cpuMsEach 200', 'CPU of a lifecycle at 200/s'],
    ['peakMb 200', 'peak memory at 200/s'],
    ['cpuMsEach 1000', 'CPU of a lifecycle at 1,000/s'],
    ['allVisibleMs 2000', 'cold start of 2,000'],
  ] as const) {
    const { failed, text } = judgePairs(judged, pairsOf({ [figure]: 1.3 }), 'before');
    assert.equal(failed, true, name);
    assert.deepEqual(
      [...text.matchAll(/^LOSS +(.*?) +x1\.30 /gm)].map(([, found]) => found),
      [name],
    );
    assert.equal(judgePairs(judged, pairsOf({ [figure]: 0.7 }), 'before').failed, false, `${name}: a gain`);
  }
  // Of throughput less is worse.
  assert.match(judgePairs(judged, pairsOf({ 'lifecyclesPerSecond 64': 0.5 }), 'before').text, /^LOSS .*x2\.00/m);
  assert.equal(judgePairs(judged, pairsOf({ 'lifecyclesPerSecond 64': 2 }), 'before').failed, false);
});

test('The guard fails on a figure that it could not judge, and not on one that only explains another', () => {
  const { failed, text } = judgePairs(judged, pairsOf({ 'allVisibleMs 2000': Number.NaN }), 'before');
  assert.equal(failed, true);
  assert.match(text, /^not judged +cold start/m);
  const aside = judgePairs(judged, pairsOf({ 'etcdCpuMsEach 200': 0.5 }), 'before');
  assert.equal(aside.failed, false);
  assert.match(aside.text, /^\(loss\) +CPU at 200\/s by etcd's/m);
});
