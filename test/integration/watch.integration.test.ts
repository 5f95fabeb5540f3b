/** `discover watch` with commands and files: what runs, what the file has, and what is said. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { act, type Outcome, type Plan } from '../../src/commands/render.ts';
import { parseInstance } from '../../src/layout/instance.ts';
import { runCommand } from '../helpers/command.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { needs, runDiscover, scratchDirectory } from '../helpers/run.ts';

const instanceOf = (name: string, port: number) => {
  const found = parseInstance('/d/', `/d/${name}/default/h1/0123456789ab`, `tcp://10.0.0.1:${port}`);
  assert.ok(found);
  return found;
};
const web = (port: number) => [['web', [instanceOf('web', port)]]] as const;
const noWeb = [['web', []]] as const;

describe('the file of --to (real shell)', () => {
  let directory: string;
  before(() => {
    directory = scratchDirectory('render', os.tmpdir());
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  let count = 0;
  const setUp = (given: Partial<Plan> = {}) => {
    const to = path.join(directory, `file-${++count}`);
    const log = path.join(directory, `log-${count}`);
    const plan: Plan = {
      ...{ exec: 'echo "for $DISCOVERED"', to, reload: `echo reloaded >> ${log}` },
      ...{ timeoutMs: 60_000, writesEmpty: false, isList: false },
      ...given,
    };
    const reloads = (): number => (existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0);
    return { plan, to, log, reloads, text: () => readFileSync(to, 'utf8') };
  };
  const problemOf = (outcome: Outcome): string =>
    'problem' in outcome ? `${outcome.kind}: ${outcome.problem}` : outcome.kind;

  test('has what the command prints, and the reload runs only if its bytes differ', async () => {
    const { plan, reloads, text, to } = setUp();
    assert.equal(problemOf(await act(plan, web(1))), 'done');
    assert.deepEqual([text(), reloads()], ['for 10.0.0.1:1\n', 1]);
    chmodSync(to, 0o640);
    const { ino } = statSync(to);
    assert.equal(problemOf(await act(plan, web(1))), 'done');
    assert.deepEqual([statSync(to).ino, reloads()], [ino, 1], 'it was written for nothing');
    assert.equal(problemOf(await act(plan, web(2))), 'done');
    assert.deepEqual([text(), reloads(), statSync(to).mode & 0o777], ['for 10.0.0.1:2\n', 2, 0o640]);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith('.')),
      [],
    );
  });

  test('is what a link leads to, and has the instances as JSON where there is no command', async () => {
    const { plan, to } = setUp({ exec: undefined, reload: undefined });
    const target = path.join(directory, 'target');
    writeFileSync(target, 'old');
    symlinkSync(target, to);
    assert.equal(problemOf(await act(plan, web(1))), 'done');
    const { name, instances } = JSON.parse(readFileSync(target, 'utf8'));
    assert.deepEqual([name, instances[0].port], ['web', 1]);
    assert.equal(problemOf(await act({ ...plan, isList: true }, web(1))), 'done');
    assert.equal(JSON.parse(readFileSync(target, 'utf8'))[0].name, 'web');
  });

  test('stays as it is when the command fails, prints nothing or takes too long, and when no instance is left', async () => {
    const { plan, reloads, text, to } = setUp();
    await act(plan, web(1));
    const cases: [Partial<Plan>, RegExp][] = [
      [{ exec: 'echo half; exit 3' }, /^retry: echo half; exit 3: ended with 3; .* stays as it is$/],
      [{ exec: 'true' }, /^retry: true: printed nothing; .* stays as it is$/],
      // The shell and what it has started end together.
      [{ exec: 'sleep 1000 & sleep 1000; echo late', timeoutMs: 50 }, /^retry: .*: took longer than 0.05 s; .* stays/],
      [{ exec: '/nowhere/at/all' }, /^retry: .*ended with 127/],
    ];
    for (const [given, expected] of cases) {
      assert.match(problemOf(await act({ ...plan, ...given }, web(2))), expected);
      assert.deepEqual([text(), reloads()], ['for 10.0.0.1:1\n', 1]);
    }
    assert.match(problemOf(await act(plan, noWeb)), /^note: no instance is left: .* stays as it is/);
    assert.equal(text(), 'for 10.0.0.1:1\n');
    assert.equal(problemOf(await act({ ...plan, writesEmpty: true }, noWeb)), 'done');
    assert.equal(text(), 'for \n');
    rmSync(to);
    assert.match(
      problemOf(await act({ ...plan, to: path.join(directory, 'no/where') }, web(1))),
      /^retry: .*cannot be written/,
    );
  });

  test('a reload that failed is done again, also by the next process, and never for a file that is in use', async () => {
    const { log, plan, reloads, text } = setUp();
    assert.match(problemOf(await act({ ...plan, reload: 'exit 4' }, web(1))), /^retry: exit 4: ended with 4$/);
    assert.deepEqual([text(), reloads()], ['for 10.0.0.1:1\n', 0]);
    assert.equal(problemOf(await act(plan, web(1))), 'done');
    assert.equal(reloads(), 1);
    assert.equal(problemOf(await act(plan, web(1))), 'done');
    assert.equal(reloads(), 1);
    appendFileSync(log, '');
  });
});

describe('watch', { skip: needs('etcd') }, () => {
  let etcd: EtcdServer;
  let directory: string;
  before(async () => {
    etcd = await startEtcd();
    directory = scratchDirectory('watch', os.tmpdir());
  });
  after(async () => {
    await etcd?.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const put = (...services: [name: string, port: number][]): Promise<void> =>
    etcd.put(
      new Map(
        services.map(([name, port]) => [`/discover/service/${name}/default/h1/0123456789ab`, `tcp://10.0.0.1:${port}`]),
      ),
    );
  const watching = (...args: string[]) => runDiscover(['watch', ...args, '--etcd:endpoints', etcd.endpoint]);

  test('several services, and all of them, are printed as they change (real etcd)', async () => {
    await put(['a', 1], ['b', 1]);
    await using two = watching('a', 'b', '-o', 'json');
    await using all = watching('--all');
    await eventually(() =>
      assert.deepEqual(
        two.logs.map(({ name }) => name),
        ['a', 'b'],
      ),
    );
    await eventually(() => assert.match(all.output, /^SERVICE.*\na .*\nb /s));
    await put(['c', 1], ['b', 2]);
    await eventually(() =>
      assert.deepEqual(
        two.logs.map(({ name }) => name),
        ['a', 'b', 'b'],
      ),
    );
    await eventually(() =>
      assert.match(all.output, /\n~ b default h1 0123456789ab tcp:\/\/10\.0\.0\.1:2\n\+ c default/),
    );
  });

  test('--to follows the instances, and the absence of etcd is said and changes nothing (real etcd)', async () => {
    await put(['shop', 1]);
    const file = path.join(directory, 'shop.json');
    const log = path.join(directory, 'reloads');
    const args = ['shop', '--to', file, '--reload', `echo x >> ${log}`, '--wait', '10ms:50ms'];
    const port = (): number => JSON.parse(readFileSync(file, 'utf8')).instances[0]?.port;
    await using first = watching(...args);
    await eventually(() => assert.equal(port(), 1));
    await put(['shop', 2]);
    await eventually(() => assert.equal(port(), 2));
    await etcd.kill();
    await eventually(() =>
      assert.match(first.output, /discover: etcd cannot be followed since \S+; the last known instances stay: /),
    );
    assert.equal(port(), 2);
    await etcd.restart();
    await eventually(() => assert.match(first.output, /discover: etcd is followed again, after \d+ s\n/));
    await first.close();
    const before = readFileSync(log, 'utf8');
    // Another one finds the file as it would write it.
    await using _second = watching(...args, '--empty', 'write');
    await put(['shop', 3]);
    await eventually(() => assert.equal(port(), 3));
    await eventually(() => assert.equal(readFileSync(log, 'utf8'), `${before}x\n`));
  });

  test('a mistake on the command line ends with 78 (no etcd)', async () => {
    const cases: [string[], RegExp][] = [
      [[], /a service, or --all, is needed/],
      [['--all', 'web'], /--all takes no service beside it, got "web"/],
      [['web', '--reload', 'x'], /--reload needs --to/],
      [['web', '--to', 'x', '--timeout', '0s'], /--timeout must be a time such as 30s, got "0s"/],
    ];
    for (const [args, expected] of cases) {
      const { code, err } = await runCommand(['watch', ...args]);
      assert.deepEqual([code, expected.test(err)], [78, true], err);
    }
  });
});
