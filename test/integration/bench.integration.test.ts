/**
 * The benchmark tells the truth: over a real etcd, what was lost, left or changed is reported, and
 * the runner itself measures, reports and leaves nothing behind. Simulated engine.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measureChurn } from '../../bench/churn.bench.ts';
import { buildOf, commitOf, type Judged, judgePairs, measurePairs } from '../../bench/guard.ts';
import { openFleet } from '../../bench/lib/fleet.ts';
import { readPeer } from '../../bench/lib/peer.ts';
import type { Report } from '../../bench/lib/report.ts';
import { emitChecks, type ShapeName, shapeNames, shapes } from '../../bench/lib/shapes.ts';
import { builds, peers, prepareSubjects } from '../../bench/lib/subject.ts';
import { openWorld } from '../../bench/lib/world.ts';
import { throughput } from '../../bench/throughput.bench.ts';
import { block } from '../helpers/documents.ts';
import { eventually, guardMs } from '../helpers/eventually.ts';
import { needs, runDiscover, typescript } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const skip = needs('etcd', 'etcdctl');
before(() => prepareSubjects());

test('A floor that sees every event is reported as exact', { skip }, async () => {
  await using world = await openWorld({ subject: 'floor' });
  const figures = await measureChurn(world, 50, 1);
  assert.equal(figures.exact, 'yes');
  assert.equal(figures.lifecycles, 50);
  assert.ok(Number(figures.publishP50Ms) > 0 && Number(figures.publishMaxMs) >= Number(figures.publishP99Ms));
  assert.ok(Number(figures.transactions) > 0 && Number(figures.cpuPercent) > 0);
});

testInFull('A floor that is made to lose events is reported as not exact', { skip }, async () => {
  await using world = await openWorld({ subject: 'floor', faults: { dropEvents: 0.3 } });
  const figures = await measureChurn(world, 100, 1);
  assert.notEqual(figures.exact, 'yes');
  assert.ok(Number(figures.stale) > 0 && Number(figures.neverSeen) > 0 && Number(figures.eventsLost) > 0);
  assert.equal((await world.settle(500)).eventsLost, 0, 'What was lost is told once');
});

for (const name of amount<readonly ShapeName[]>(['spaced', 'services-3', 'ipv6', 'labels'], shapeNames)) {
  test(`discover is exact with containers, documents and events of the shape ${name}`, { skip }, async () => {
    await using world = await openWorld({ subject: 'discover', shape: shapes[name], standing: 5 });
    const figures = await measureChurn(world, 50, 1);
    assert.equal(figures.exact, 'yes');
    assert.equal(Number.isNaN(figures.publishP50Ms), name === 'nothing');
    // The record and each service, to the last moment.
    const keys = { nothing: 0, 'services-3': 4, 'services-10': 11 }[name as string] ?? 2;
    assert.equal((await world.etcd.get('/discover/')).size, 1 + keys * 6, 'And the owner');
  });
}

test('Health checks of containers that stay change nothing in etcd, with or without a filter of events', {
  skip,
}, async () => {
  for (const name of ['checks-status', 'checks-unfiltered'] as const) {
    await using world = await openWorld({ subject: 'discover', shape: shapes[name], standing: 5 });
    const ids = (await world.engine.snapshot()).map(({ id }) => id);
    const [revision, before] = [await world.etcd.revision(), await world.engine.published()];
    const sent = await emitChecks(world.engine, ids, shapes[name].checks, 300, { seconds: 0.5 });
    assert.deepEqual([sent, (await world.engine.published()) - before], [150, 150]);
    assert.deepEqual([(await world.settle()).missing, await world.etcd.revision()], [0, revision], name);
  }
});

testInFull('Keys that were taken away, left over or changed in etcd are found', { skip }, async () => {
  await using world = await openWorld({ subject: 'floor', standing: 5 });
  const service = [...(await world.etcd.get('/discover/service/')).keys()];
  await world.etcd.ctl('del', service[0] ?? '');
  await world.etcd.ctl('put', service[1] ?? '', 'tcp://10.0.0.5:1');
  await world.etcd.ctl('put', '/discover/service/ghost/default/h1/0123456789ab', 'tcp://10.0.0.5:2');
  const { missing, stale, wrong } = await world.settle();
  assert.deepEqual({ missing, stale, wrong }, { missing: 1, stale: 1, wrong: 1 });
});

testInFull(
  'A fleet is exact once all of its hosts have started, and what is left over of one of them is found',
  {
    skip,
  },
  async () => {
    const hosts = amount(2, 3);
    await using fleet = await openFleet(hosts, 2);
    const { missing } = await fleet.settle(0);
    assert.equal(missing, hosts * 2 * 2);
    await fleet.tell(0, hosts);
    assert.deepEqual(await fleet.settle(), { missing: 0, stale: 0, wrong: 0 });
    await fleet.etcd.ctl('put', '/discover/service/ghost/default/h1/0123456789ab', 'tcp://10.0.0.5:2');
    assert.deepEqual(await fleet.settle(0), { missing: 0, stale: 1, wrong: 0 });
    await fleet.crash();
    await fleet.engine.run([{ env: ['DISCOVER=web:8080'], ports: [{ container: '8080/tcp' }] }]);
    assert.deepEqual(await fleet.settle(0), { missing: hosts * 2, stale: 1, wrong: 0 });
    await fleet.tell(0, hosts);
    await fleet.etcd.ctl('del', '/discover/service/ghost/default/h1/0123456789ab');
    assert.deepEqual(await fleet.settle(), { missing: 0, stale: 0, wrong: 0 });
  },
);

/** Processes that were started, at whatever remove, with the mark in their environment. */
function processesWith(mark: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark);
    } catch {
      return false; // it has ended, or is not ours
    }
  });
}

const script = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const nodeArgs = typescript;

test('The runner prints a table, writes JSON and leaves no process', { skip, timeout: 3 * guardMs }, async () => {
  const mark = randomUUID();
  const directory = mkdtempSync(path.join(tmpdir(), 'bench-test-'));
  const json = path.join(directory, 'bench.json');
  try {
    const args = ['throughput', '--points', '8', '--seconds', '1', '--subjects', 'discover,floor', '--json', json];
    await using runner = runDiscover(args, { script, nodeArgs, env: { BENCH_TEST: mark } });
    const { code } = await runner.exit;
    assert.equal(code, 0, runner.output);
    assert.match(runner.output, /8 +discover .* yes$/m);
    assert.match(runner.output, /\/ floor +x\d/);
    const { about, benches } = JSON.parse(readFileSync(json, 'utf8')) as Report;
    assert.match(about.versions ?? '', /etcd \d/);
    assert.deepEqual(
      benches[0]?.rows.map(({ figures, point, subject }) => [
        point,
        subject,
        figures.exact,
        Number(figures.lifecyclesPerSecond) > 8,
      ]),
      [
        [8, 'discover', 'yes', true],
        [8, 'floor', 'yes', true],
      ],
    );
    assert.deepEqual(processesWith(mark), []);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

for (const args of [
  ['shapes', '--points', '0,20', '--subjects', 'plain,checks-unfiltered'],
  ['workers', '--points', '0,1', '--subjects', '50/s of 5 KB'],
  ['memory', '--points', '5,10'],
]) {
  testInFull(`The runner measures ${args[0]}, and concludes`, { skip, timeout: 3 * guardMs }, async () => {
    await using runner = runDiscover([...args, '--seconds', '1'], { script, nodeArgs });
    assert.equal((await runner.exit).code, 0, runner.output);
    assert.match(
      runner.output,
      /costs x\d+\.\d\d \(pairs|: a thread (pays|does not pay|makes no difference)|bytes held for each/,
    );
    assert.doesNotMatch(runner.output, /failed|NaN/);
  });
}

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  testInFull(`A runner ended by ${signal} leaves no process of its own`, { skip, timeout: 3 * guardMs }, async () => {
    const mark = randomUUID();
    const args = ['churn', '--points', '50', '--seconds', '30', '--subjects', 'floor'];
    await using runner = runDiscover(args, { script, nodeArgs, env: { BENCH_TEST: mark } });
    // The runner, the engine, etcd and the floor.
    await eventually(() => assert.ok(processesWith(mark).length >= 4, 'Not yet'));
    runner.signal(signal);
    await runner.exit;
    // Killed, it leaves its etcd to whoever starts the next one.
    const leftMax = signal === 'SIGINT' ? 0 : 1;
    await eventually(() => assert.ok(processesWith(mark).length <= leftMax, 'Not yet'));
    for (const pid of processesWith(mark)) process.kill(Number(pid), 'SIGKILL');
  });
}

const directoryOfTest = (): string => mkdtempSync(path.join(tmpdir(), 'bench-test-'));

test('A peer with keys of its own is measured beside discover: the program of the document', {
  skip,
  timeout: 3 * guardMs,
}, async () => {
  const directory = directoryOfTest();
  try {
    const [program, json] = [path.join(directory, 'mine.mjs'), path.join(directory, 'bench.json')];
    writeFileSync(program, block('bench/README.md', '#!/usr/bin/env node'), { mode: 0o755 });
    const peer = ['--peer', `'${program}' {socket} {etcd} {ip}`];
    const layout = ['--layout', '/mine/{short-id}/{service}={ip}:{host-port}'];
    const args = [
      'churn',
      '--points',
      '20',
      '--seconds',
      '1',
      '--subjects',
      'discover',
      '--json',
      json,
      ...peer,
      ...layout,
    ];
    await using runner = runDiscover(args, { script, nodeArgs });
    assert.equal((await runner.exit).code, 0, runner.output);
    assert.match(runner.output, /\/ mine\.mjs +x\d/);
    const { benches } = JSON.parse(readFileSync(json, 'utf8')) as Report;
    const found = benches[0]?.rows.map(({ figures, subject }) => [
      subject,
      // On a busy machine a program as simple as that may not see all of them in their second.
      String(figures.exact).split(',')[0],
      ...['publishP50Ms', 'unpublishP50Ms', 'peakMb'].map((figure) => Number(figures[figure]) > 0),
    ]);
    assert.deepEqual(found, [
      ['discover', 'yes', true, true, true],
      ['mine.mjs', 'yes', true, true, true],
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("A peer with discover's own layout is naive, as a subject and as a command", { skip }, async () => {
  const naive = fileURLToPath(new URL('../../node_modules/.cache/discover-bench/naive.js', import.meta.url));
  peers.set('a-peer', readPeer(`node '${naive}' {socket} {etcd} {host} {ip}`, 'discover', 'box'));
  await using world = await openWorld({ subject: 'a-peer' });
  const figures = await measureChurn(world, 20, 1);
  assert.equal(figures.exact, 'yes');
  assert.equal(figures.lifecycles, 20);
});

test('Of a peer that ends or writes other keys the row says so', { skip }, async () => {
  peers.set('ends', readPeer('node --no-such-option', 'discover', 'box'));
  await assert.rejects(openWorld({ subject: 'ends' }), /has ended: .*bad option/);
  const etcdctl = `etcdctl --endpoints={etcd-address} put /mine/other/key value`;
  const command = `sh -c "ETCDCTL_API=3 ${etcdctl} >&2 && exec sleep 60"`;
  peers.set('other', readPeer(command, '/mine/{id}={ip}', 'box'));
  await assert.rejects(
    openWorld({ subject: 'other', standing: 1 }),
    /1 keys are missing .* Missing: \/mine\/[0-9a-f]{64} = 10\.0\.0\.5\. There is: \/mine\/other\/key = value$/,
  );
});

/** CPU alone, and with a tolerance that is beyond the noise of a machine that runs other tests. */
const cpu: Judged = {
  ...{ bench: throughput, point: 8, name: 'CPU of a lifecycle' },
  cost: ({ cpuMsEach }) => Number(cpuMsEach),
};
const atLeast = 1;

async function guarded(other: string) {
  const benches = await measurePairs([cpu], { other, pairs: 3, seconds: 1, progress: () => {} });
  return { benches, ...judgePairs([cpu], benches, other, atLeast) };
}

/** A build whose main thread does nothing useful for most of the time. */
function slowed(directory: string): string {
  const file = path.join(directory, 'slowed.mjs');
  const cli = new URL('../../dist/cli.js', import.meta.url).href;
  // By CPU and not by the clock: on a busy machine it would get less of it.
  const busy = 'const before = process.cpuUsage(); while (process.cpuUsage(before).user < 20_000);';
  writeFileSync(file, `setInterval(() => { ${busy} }, 5).unref();\nawait import('${cli}');\n`);
  return file;
}

test('The guard finds that a program is slower than another, and not the other way round', { skip }, async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'bench-test-'));
  try {
    builds.set('slowed', slowed(directory));
    const { benches, text } = await guarded('slowed');
    assert.match(text, /^gain +CPU of a lifecycle +x0\.[0-4]/m);
    const named: Readonly<Record<string, string>> = { discover: 'fast', slowed: 'discover' };
    const swapped = benches.map(({ name, rows }) => ({
      name,
      rows: rows.map((row) => ({ ...row, subject: named[row.subject] ?? '' })),
    }));
    assert.equal(judgePairs([cpu], swapped, 'fast', atLeast).failed, true);
  } finally {
    builds.delete('slowed');
    rmSync(directory, { recursive: true, force: true });
  }
});

const noGit = skip || needs('git', 'tar', 'npm');

testInFull('The guard builds a commit, and finds this one no worse than itself', { skip: noGit }, async () => {
  const commit = commitOf('HEAD');
  assert.ok(commit);
  let cli = '';
  {
    using build = await buildOf(commit, () => {});
    cli = builds.get(build.subject) ?? '';
    const { failed, text } = await guarded(build.subject);
    assert.equal(failed, false, text);
  }
  assert.ok(cli !== '' && !existsSync(cli));
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  testInFull(
    `A guard ended by ${signal} while it builds leaves nothing`,
    { skip: noGit, timeout: 3 * guardMs },
    async () => {
      const mark = randomUUID();
      const directory = mkdtempSync(path.join(tmpdir(), 'bench-test-'));
      try {
        const env = { BENCH_TEST: mark, TMPDIR: directory };
        await using runner = runDiscover(['guard', '--against', 'HEAD'], { script, nodeArgs, env });
        // The runner and the build.
        await eventually(() => assert.ok(processesWith(mark).length >= 2 && readdirSync(directory).length > 0));
        runner.signal(signal);
        await runner.exit;
        await eventually(() => assert.deepEqual(processesWith(mark), []));
        assert.deepEqual(readdirSync(directory), []);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  );
}

test('The guard refuses what is no commit, and too few pairs', { skip: needs('git') }, async () => {
  for (const [args, said] of [
    [['guard'], /--against/],
    [['churn', '--against', 'HEAD'], /--against/],
    [['guard', '--against', 'no-such-tag'], /"no-such-tag" is no commit/],
    [['guard', '--against', 'HEAD', '--pairs', '2'], /--pairs must be a number from 3/],
  ] as const) {
    await using runner = runDiscover(args, { script, nodeArgs });
    assert.equal((await runner.exit).code, 64, args.join(' '));
    assert.match(runner.output, said);
  }
});

test('The runner refuses what it does not know', async () => {
  const peer = ['--peer', 'node x.js', '--layout', 'discover'];
  for (const args of [['chrun'], ['churn', '--points', 'x'], ['churn', '--peer', 'node'], ['idle', ...peer]]) {
    await using runner = runDiscover(args, { script, nodeArgs });
    assert.equal((await runner.exit).code, 64, args.join(' '));
    assert.match(runner.output, /^bench: /m);
  }
});
