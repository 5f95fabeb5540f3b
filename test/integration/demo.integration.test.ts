/** The demo, as `npm run demo` runs it once the machine is ready. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import { ended } from '../helpers/host.ts';
import { needs, runDiscover } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const mark = 'DSC_DEMO_MARK';

/** Every process that was started with our mark in its environment, whoever its parent is by now. */
function marked(value: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const isOurs = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${mark}=${value}`);
        return isOurs ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')] : [];
      } catch {
        return []; // ended meanwhile, or a zombie
      }
    });
}

for (const end of amount(['by SIGINT'] as const, ['by itself', 'by SIGINT'] as const)) {
  test(`the demo names its parts, shows services come and go, and ends ${end} without a trace (simulated engine, real etcd)`, {
    skip: needs('etcd'),
  }, async () => {
    const value = `${process.pid}-${end}`;
    await using demo = runDiscover(['demo', ...(end === 'by itself' ? ['--seconds', '4'] : [])], {
      env: { [mark]: value },
    });
    const shows = (sign: string): void =>
      assert.match(demo.output, new RegExp(`^\\${sign} \\S+  tcp://10\\.0\\.0\\.5:\\d+  [0-9a-f]{12}$`, 'm'));
    await eventually(() => shows('+'));
    assert.ok(marked(value).length > 1, 'It has children');
    if (end === 'by SIGINT') {
      await eventually(() => shows('-'));
      demo.signal('SIGINT');
    }
    assert.deepEqual(await ended(demo), { code: 0, signal: null }, demo.output);
    assert.match(demo.output, /^Docker Engine: +simulated/m);
    assert.match(demo.output, /^etcd: +real/m);
    assert.match(demo.output, /^[1-9]\d* events, [1-9]\d* inspections, [1-9]\d* keys in [1-9]\d* transactions$/m);
    await eventually(() => assert.deepEqual(marked(value), []));
  });
}
