/** Completion: what may end a command line, and what bash and zsh make of it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type CommandTable, command } from '../../src/commands/command.ts';
import { replies } from '../../src/commands/completion.ts';
import { commandTable } from '../../src/commands/table.ts';
import { typescript } from '../helpers/run.ts';
import { isFull } from '../helpers/share.ts';

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const scriptFor = (shell: string): string =>
  execFileSync(process.execPath, [...typescript, cli, 'completion', shell], { encoding: 'utf8' });

describe('A command line may end in', () => {
  const asked: object[] = [];
  const offer = command({
    options: {},
    words: ['<service>'],
    async complete(sources) {
      asked.push(sources);
      return ['web', 'web-api', 'db'];
    },
    run: async () => 0,
  });
  const table: CommandTable = { ...commandTable, offer: { description: 'Only here', load: async () => offer } };

  const cases: [line: string, expected: string[]][] = [
    ['discover --host:r', ['--host:realm', '--host:realms']],
    ['discover --host.r', ['--host.realm', '--host.realms']],
    [
      'discover --host:',
      [
        '--host:ip',
        '--host:ip6',
        '--host:interface',
        '--host:cidr',
        '--host:id',
        '--host:realm',
        '--host:zone',
        '--host:attributes',
        '--host:realms',
        '--host:onExit',
        '--host:drainSeconds',
      ],
    ],
    ['discover --etcd:password', ['--etcd:passwordFile']],
    ['discover --host:onExit ', ['keep', 'remove', 'drain']],
    ['discover --host.onExit k', ['keep']],
    ['discover --host:onExit=k', ['--host:onExit=keep']],
    ['discover --workers ', []],
    ['discover con', ['config']],
    ['discover --workers 4 con', ['config']],
    ['discover config --sch', ['--schema']],
    ['discover ls --output ', ['table', 'wide', 'json', 'env']],
    ['discover ls -o j', ['json']],
    ['discover -', ['--config', '--help', '--version']],
    ['discover why ', []],
    ['discover maintenance ', ['on', 'off', 'list']],
    ['discover maintenance o', ['on', 'off']],
    ['discover maintenance list --rea', ['--reason']],
    ['discover offer we', ['web', 'web-api']],
    ['discover offer web ', []],
    ['discover offer --host:realm ', []],
    ['discover nonsense ', []],
  ];
  for (const [line, expected] of cases) {
    test(`"${line}": ${expected.join(' ') || 'nothing'}`, async () => {
      const found = await replies(line, table);
      if (line.endsWith(' -'))
        for (const one of expected) assert.ok(found.includes(one), `${one} of ${found.join(' ')}`);
      else assert.deepEqual(found, expected);
    });
  }

  test('every command, where none is named', async () => {
    const found = await replies('discover ', table);
    for (const name of ['run', 'help', ...Object.keys(table)]) assert.ok(found.includes(name), name);
  });

  test('names that the command asks for with the options on the line', async () => {
    asked.length = 0;
    await replies('discover --config f --etcd.endpoints a:1 offer w', table, { DISCOVER_HOST_ID: 'h' });
    const systemFile = '/etc/discover/config.json';
    const sources = { argv: { 'etcd.endpoints': 'a:1' }, env: { DISCOVER_HOST_ID: 'h' }, file: 'f', systemFile };
    assert.deepEqual(asked, [sources]);
  });
});

describe('The script of', () => {
  const directory = mkdtempSync(join(tmpdir(), 'discover-completion-'));
  after(() => rmSync(directory, { recursive: true }));
  writeFileSync(
    join(directory, 'discover'),
    `#!/bin/sh\nexec "${process.execPath}" ${typescript.join(' ')} "${cli}" "$@"\n`,
  );
  chmodSync(join(directory, 'discover'), 0o755);

  /** What bash puts in place of the piece of the word that it would replace. */
  function completed(line: string, wordBreaks: string): string[] {
    const ask = `COMP_WORDBREAKS=$2; COMP_LINE=$1; COMP_POINT=\${#COMP_LINE}; _discover; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const argv = ['--norc', '-c', `${scriptFor('bash')}\n${ask}`, 'bash', line, wordBreaks];
    const env = { ...process.env, PATH: `${directory}:${process.env.PATH}` };
    return execFileSync('bash', argv, { encoding: 'utf8', env }).trimEnd().split('\n');
  }

  test('bash completes names with colons, whether or not the colon splits words', () => {
    assert.deepEqual(completed('discover --host:r', ' \t\n"\'><=;|&(:'), ['realm', 'realms']);
    assert.deepEqual(completed('discover --host:r', ' \t\n"\'><;|&('), ['--host:realm', '--host:realms']);
    if (!isFull) return;
    assert.deepEqual(completed('discover --docker:tls:c', ' \t\n:'), ['ca', 'cert']);
    assert.deepEqual(completed('discover --host:onExit=', ' \t\n"\'><=;|&(:'), ['keep', 'remove', 'drain']);
    assert.deepEqual(completed('discover --host.r', ' \t\n:'), ['--host.realm', '--host.realms']);
  });

  test('zsh is one that zsh can read', (context) => {
    const script = scriptFor('zsh');
    assert.match(script, /^#compdef discover$/m);
    if (spawnSync('zsh', ['--version']).error) context.skip('zsh is not installed');
    else execFileSync('zsh', ['-n'], { input: script });
  });

  test('another shell is refused', () => {
    const { status, stderr } = spawnSync(process.execPath, [...typescript, cli, 'completion', 'fish']);
    assert.equal(status, 78);
    assert.match(String(stderr), /shell must be bash or zsh, got "fish"/);
  });
});
