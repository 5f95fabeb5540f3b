/** What the benchmark's figures are made of: percentiles, exactness, latencies, medians and ratios. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judged, judgePairs } from '../../bench/guard.ts';
import { transactionFigures } from '../../bench/lib/bench.ts';
import { deviationOf, expectedKeys, latenciesOf, Pursuit } from '../../bench/lib/exact.ts';
import { field, fields, Messages, numberField } from '../../bench/lib/grpc.ts';
import { Lives } from '../../bench/lib/lives.ts';
import { cpuMsOf, type Figures, percentile, usageOf } from '../../bench/lib/measure.ts';
import { judge } from '../../bench/lib/pairs.ts';
import { figuresOf, goalsOf, inexactOf, type Row, tableOf } from '../../bench/lib/report.ts';
import { type Judged, type Look, verdictsOf } from '../../bench/lib/soak.ts';

const host = { id: 'h1', ip: '10.0.0.5' };
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
  const container = { name: 'n', env: ['A=1', 'DISCOVER=web:80, api:81'], startedAt: '1', address: '172.17.0.9' };
  const ports = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '4000' }], '81/tcp': null };
  const keys = expectedKeys(
    [
      { ...container, id: id('a'), state: 'running', ports },
      { ...container, id: id('b'), state: 'exited', ports },
      { ...container, id: id('c'), state: 'running', ports: {} },
    ],
    host,
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
  const container = { name: 'n', env: ['DISCOVER=web:80'], startedAt: '1', address: '172.17.0.9', ports };
  const keys = expectedKeys([{ ...container, id: id('a'), state: 'running' }], host, 'container');
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
  assert.deepEqual(deviationOf(expected, found), { missing: 1, stale: 1, wrong: 1 });
  assert.deepEqual(deviationOf(expected, expected), { missing: 0, stale: 0, wrong: 0 });
});

test('Pursuit notes when etcd last came to hold what it must', () => {
  const pursuit = new Pursuit(new Map([[serviceKey('a'), '1']]), new Map([[serviceKey('b'), '2']]));
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

test('latenciesOf times the first put and the last delete, and counts who was never seen', () => {
  const life = { env: [], ports: {} };
  const lives = [
    { ...life, id: id('a'), startedMs: 10, endedMs: 20 },
    { ...life, id: id('b'), startedMs: 10 },
    { ...life, id: id('c'), startedMs: 10, endedMs: 11 },
  ];
  const found = latenciesOf(lives, [
    { at: 12, key: serviceKey('a'), value: '1' },
    { at: 13, key: recordKey('b'), value: '{}' },
    { at: 15, key: serviceKey('b'), value: '1' },
    { at: 16, key: serviceKey('b'), value: '2' },
    { at: 24, key: serviceKey('a'), value: undefined },
  ]);
  assert.deepEqual(found, { publishMs: [2, 5], unpublishMs: [4], neverSeen: 1 });
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
});

test('A goal is met or missed, and one that was not measured is left out', () => {
  const rows = [row('discover', 4), row('naive', 8), row('floor', 2)];
  const text = goalsOf({ about: {}, benches: [{ name: 'churn', rows }] });
  assert.match(text, /^met {5}churn 200 cpuMsEach \/ naive <= 0\.5: 0\.50$/m);
  assert.match(text, /^MISSED {2}churn 200 publishP99Ms \/ floor <= 1\.5: 2$/m);
  assert.match(text, /^met {5}no key missing/m);
  assert.doesNotMatch(text, /idle/);
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
