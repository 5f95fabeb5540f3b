/** The soak tells the truth: a short one is exact and holds what it held, and one that leaks is found out. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Look, Verdict } from '../../bench/lib/soak.ts';
import { needs, runDiscover, typescript } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const script = fileURLToPath(new URL('../../bench/soak.ts', import.meta.url));
const nodeArgs = typescript;

interface Soaked {
  readonly looks: readonly Look[];
  readonly verdicts: readonly Verdict[];
  readonly isExact: boolean;
}

describe('a soak', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-soak-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  /** By events, so that there are as many rounds on a slow machine. */
  const soak = async (name: string, env: Record<string, string> = {}) => {
    const [json, chart] = [path.join(directory, `${name}.json`), path.join(directory, `${name}.svg`)];
    const args = ['--rate', '800', '--events', '2400', '--json', json, '--chart', chart];
    await using runner = runDiscover(args, { script, nodeArgs, env });
    const { code } = await runner.exit;
    assert.match(runner.output, /etcd is exact/);
    const soaked = JSON.parse(readFileSync(json, 'utf8')) as Soaked;
    const grows = soaked.verdicts.filter((verdict) => verdict.grows).map(({ what }) => what);
    return { ...soaked, code, grows, output: runner.output, svg: readFileSync(chart, 'utf8') };
  };

  testInFull(
    'of 300 lives is exact after every round, and descriptors, timers, handles and listeners stay (simulated engine, real etcd)',
    async () => {
      const { grows, isExact, looks, output, svg, verdicts } = await soak('clean');
      assert.equal(isExact, true);
      assert.equal(looks.length, 3, output);
      assert.deepEqual(
        looks.map(({ events, off }) => [events, off]),
        [
          [800, 0],
          [1600, 0],
          [2400, 0],
        ],
      );
      assert.equal(verdicts.length, 7);
      // Memory settles in minutes, not in seconds.
      assert.deepEqual(
        grows.filter((what) => !what.endsWith('Mb')),
        [],
        output,
      );
      for (const { descriptors, heapMb, listeners } of looks)
        assert.ok(heapMb > 5 && descriptors > 10 && listeners > 10);
      assert.match(svg, /^<svg .*descriptors/s);
    },
  );

  testInFull(
    'in which discover is made to leak ends with 1 and says what grows (simulated engine, real etcd)',
    async () => {
      const leak = path.join(directory, 'leak.mjs');
      writeFileSync(
        leak,
        `import { openSync } from 'node:fs';
       import { isMainThread } from 'node:worker_threads';
       const kept = [];
       if (isMainThread && process.argv[1]?.endsWith('/dist/cli.js')) setInterval(() => {
         openSync('/dev/null');
         setTimeout(() => {}, 1e9);
         process.on('leak', () => {});
         kept.push(new Array(40_000).fill(0.5));
       }, 20);`,
      );
      const { code, grows, output } = await soak('leak', { NODE_OPTIONS: `--import ${pathToFileURL(leak)}` });
      assert.equal(code, 1, output);
      for (const what of ['heapMb', 'descriptors', 'timers', 'listeners'] as const) {
        assert.ok(grows.includes(what), `${what} has grown and nobody says so:\n${output}`);
      }
      assert.match(output, /^descriptors .* grows$/m);
    },
  );

  test('refuses what it does not know', async () => {
    for (const args of [['--days', '1'], ['--hours', 'x'], ['--hours', '1', '--events', '5'], ['now']]) {
      await using runner = runDiscover(args, { script, nodeArgs });
      assert.equal((await runner.exit).code, 64, args.join(' '));
      assert.match(runner.output, /^soak: /m);
    }
  });
});
