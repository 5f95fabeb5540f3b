/** The command line: what is understood, what is refused, and the texts it can print. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Arguments, parseArguments } from '../../src/commands/arguments.ts';
import { type CommandRow, command } from '../../src/commands/command.ts';
import { commandTable } from '../../src/commands/table.ts';
import { optionTable } from '../../src/config/options.ts';
import { readSources } from '../../src/config/sources.ts';
import { codeOf, detailsOf, problemText } from '../../src/errors.ts';

const optionsOf = async (...argv: string[]): Promise<Arguments['options']> => (await parseArguments(argv)).options;

async function problemsOf(...argv: string[]): Promise<string[]> {
  const error: unknown = await parseArguments(argv).then(
    () => assert.fail('the command line was accepted'),
    (error: unknown) => error,
  );
  assert.equal(codeOf(error), 'CONFIG_INVALID');
  const texts = (detailsOf(error).problems ?? []).map(problemText);
  assert.equal((error as Error).message, ['Cannot use the command line:', ...texts].join('\n  '));
  return texts;
}

describe('options', () => {
  const cases: [argv: string[], options: Arguments['options']][] = [
    [[], {}],
    [['run'], {}],
    [['--host:realm', 'x'], { 'host.realm': 'x' }],
    [['--host:realm=x'], { 'host.realm': 'x' }],
    [['--host.realm', 'x'], { 'host.realm': 'x' }],
    [['--host.realm=x'], { 'host.realm': 'x' }],
    [['--host:realm', 'a=b.c'], { 'host.realm': 'a=b.c' }],
    [['--host:realm=a=b.c:d'], { 'host.realm': 'a=b.c:d' }],
    [['--docker:tls:ca', 'a', '--docker.tls.key', 'b'], { 'docker.tls.ca': 'a', 'docker.tls.key': 'b' }],
    [['--host:id', '0123', '--host:realm=1e3'], { 'host.id': '0123', 'host.realm': '1e3' }],
    [['--workers', '4'], { workers: '4' }],
    [['--workers', '-1'], { workers: '-1' }],
    [['--debug'], { debug: true }],
    [['--no-debug'], { debug: false }],
    [['--debug', 'false'], { debug: false }],
    [['--debug', 'run'], { debug: true }],
    [['--no-debug', 'run'], { debug: false }],
    [['--debug=true'], { debug: true }],
    [['--debug=1', '--silly=0'], { debug: true, silly: false }],
    [['--verbose', '--silly', '--log', 'f'], { verbose: true, silly: true, log: 'f' }],
    [['--docker:socketPath', 'false'], { 'docker.socketPath': 'false' }],
    [['--no-docker:socketPath'], { 'docker.socketPath': false }],
    [['--no-docker.tls.verify'], { 'docker.tls.verify': false }],
    [['--etcd:endpoints', 'a:1,b:2'], { 'etcd.endpoints': 'a:1,b:2' }],
    [['--host:realm'], { 'host.realm': '' }],
    [['--host:realm', '--debug'], { 'host.realm': '', debug: true }],
    [['--host:realm', 'a', '--host.realm', 'b'], { 'host.realm': 'b' }],
    [['--debug', '--no-debug'], { debug: false }],
    [['--etcd:endpoints', 'a:1', '--etcd.endpoints=b:2,c:3'], { 'etcd.endpoints': 'a:1,b:2,c:3' }],
    [['--views:custom', '/a = b, c', '--views:custom', '/d = e'], { 'views.custom': '/a = b, c\n/d = e' }],
  ];
  for (const [argv, options] of cases) {
    test(`${argv.join(' ') || 'nothing'} gives ${JSON.stringify(options)}`, async () =>
      assert.deepEqual(await parseArguments(argv), { name: 'run', options, flags: {}, words: [] } satisfies Arguments));
  }

  test('every option of the table but the password is one of the command line, in both ways of writing', async () => {
    for (const { path, type } of optionTable.filter((row) => row.path !== 'etcd.password')) {
      const value = type === 'boolean' ? 'true' : 'x';
      const [dots, colons] = [
        await optionsOf(`--${path}=${value}`),
        await optionsOf(`--${path.replaceAll('.', ':')}=${value}`),
      ];
      assert.deepEqual(dots, colons);
      assert.deepEqual([...readSources({ argv: colons }).chosen.keys()], [path]);
    }
  });

  for (const argv of [['--config', 'f'], ['--config=f'], ['-c', 'f']]) {
    test(`${argv.join(' ')} names the file`, async () => assert.equal((await parseArguments(argv)).configFile, 'f'));
  }
});

describe('commands', () => {
  test('config has options of its own, behind its name, and takes those of the configuration', async () => {
    const given = await parseArguments(['--debug', 'config', '--host:realm', 'x', '-c', 'f', '-o', 'json', '--schema']);
    const { name, options, flags, words, configFile } = given;
    assert.deepEqual(
      { name, options, words, configFile },
      {
        name: 'config',
        options: { debug: true, 'host.realm': 'x' },
        words: [],
        configFile: 'f',
      },
    );
    assert.deepEqual(flags, { output: 'json', schema: true });
    assert.equal(given.command, await commandTable.config?.load());
  });

  test('what is not given is absent, and --no- is false', async () => {
    assert.deepEqual((await parseArguments(['config'])).flags, {});
    assert.deepEqual((await parseArguments(['config', '--no-schema'])).flags, { schema: false });
  });
});

describe('words', () => {
  const table: Record<string, CommandRow> = commandTable;
  const offer = command({ options: {}, words: ['<service>', '[realm]'], run: async () => 0 });
  before(() => {
    table.offer = { description: 'Only here', load: async () => offer };
  });
  after(() => {
    delete table.offer;
  });

  test('behind a command are its own, as many as it takes', async () => {
    assert.deepEqual((await parseArguments(['offer', 'web'])).words, ['web']);
    assert.deepEqual((await parseArguments(['--debug', 'offer', 'web', '--host:ip', 'x', 'blue'])).words, [
      'web',
      'blue',
    ]);
    assert.deepEqual(await problemsOf('offer'), ['missing <service>']);
    assert.deepEqual(await problemsOf('offer', 'a', 'b', 'c'), ['unexpected argument "c"']);
  });

  test('are in its help', async () => {
    assert.match(
      (await parseArguments(['help', 'offer'])).text ?? '',
      /^discover offer <service> \[realm\] \[options\]$/m,
    );
  });
});

describe('mistakes', () => {
  const cases: [argv: string[], ...problems: RegExp[]][] = [
    [['--host:relm', 'x'], /^--host:relm is not an option, did you mean --host:realm\?$/],
    [['--host.relm=x'], /^--host:relm is not an option, did you mean --host:realm\?$/],
    [['--realm', 'x'], /^--realm belongs to discover ls, discover get, discover watch, did you mean --host:realm\?$/],
    [['--confg', 'x'], /^--confg is not an option, did you mean --config\?$/],
    [['--socketpath', 'x'], /^--socketpath is not an option$/],
    [['--foo'], /^--foo is not an option$/],
    [['-x'], /^-x is not an option$/],
    [['--no-foo'], /^--foo is not an option$/],
    [['--host', 'x'], /^--host belongs to discover maintenance, did you mean --docker:host\?$/],
    [['--__proto__', 'x'], /^--_*proto_* is not an option$/],
    [['--no-debug=1'], /^--no-debug is not an option/],
    [['-c'], /^--config must be the path of a file$/],
    [['confg'], /^confg is not a command, did you mean config\?$/],
    [['--debug', 'stray'], /^stray is not a command$/],
    [['--', 'stray'], /^stray is not a command$/],
    [['config', 'extra'], /^unexpected argument "extra"$/],
    [['toString'], /^toString is not a command/],
    [['--config'], /^--config must be the path of a file$/],
    [['--config', '--debug'], /^--config must be the path of a file$/],
    [['--schema'], /^--schema belongs to discover config$/],
    [['--output', 'json'], /^--output belongs to discover ls, discover get/],
    [['config', '--schemas'], /^--schemas is not an option, did you mean --schema\?$/],
    [['config', '--schema=x'], /^--schema must be true or false, got "x"$/],
    [['config', '-o'], /^--output must be table or json, got ""$/],
    [['config', '-o', 'yaml'], /^--output must be table or json, got "yaml"$/],
    [['--debug=x'], /^--debug must be true or false, got "x"$/],
    [['--get-yargs-completions', 'discover', '--ho'], /^--get-yargs-completions is not an option$/, /^--ho /],
    [['--foo', '1', '--bar', '2'], /^--foo /, /^--bar /],
  ];
  for (const [argv, ...expected] of cases) {
    test(`${argv.join(' ')} is refused`, async () => {
      const problems = await problemsOf(...argv);
      assert.equal(problems.length, expected.length, problems.join('\n'));
      for (const [index, problem] of expected.entries()) assert.match(problems[index] ?? '', problem);
    });
  }

  for (const argv of [
    ['--etcd:password', 'hunter2'],
    ['--etcd:password=hunter2'],
    ['--etcd.password', 'hunter2'],
    ['--no-etcd:password'],
  ]) {
    test(`a password as ${argv[0]} is refused, not shown, and the alternatives are named`, async () => {
      const [problem = '', ...more] = await problemsOf(...argv);
      assert.equal(more.length, 0);
      assert.match(problem, /etcd:passwordFile or DISCOVER_ETCD_PASSWORD/);
      assert.doesNotMatch(problem, /hunter2/);
    });
  }
});

describe('texts', () => {
  test('help names every option but the password, the commands and four examples, in groups', async () => {
    for (const argv of [['--help'], ['-h'], ['help'], ['run', '--help'], ['--help', '--foo']]) {
      const { name, text = '' } = await parseArguments(argv);
      assert.equal(name, 'help');
      for (const { path } of optionTable) {
        assert.equal(text.includes(` --${path.replaceAll('.', ':')} `), path !== 'etcd.password', path);
      }
      for (const heading of [
        'General:',
        'Services:',
        'Docker Engine:',
        'etcd:',
        'Views:',
        'Host:',
        'HTTP:',
        'Commands:',
        'Examples:',
      ]) {
        assert.match(text, new RegExp(`^${heading}$`, 'm'));
      }
      assert.equal(text.split('Examples:\n')[1]?.match(/^ {2}\S/gm)?.length, 4);
      assert.match(text, /--etcd:endpoints .*\[array\] \[default: localhost:2379\]/);
    }
  });

  test('version is that of package.json', async () => {
    const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    for (const argv of [['--version'], ['version']]) {
      const { name, text } = await parseArguments(argv);
      assert.deepEqual([name, text], ['version', (manifest as { version: string }).version]);
    }
  });

  for (const [name, { description, load }] of Object.entries(commandTable)) {
    test(`help of ${name} says what it is for and names its options, and its alone`, async () => {
      const { options } = await load();
      for (const argv of [
        [name, '--help'],
        ['help', name],
        ['-h', name],
      ]) {
        const { text = '' } = await parseArguments(argv);
        assert.match(text, new RegExp(`^discover ${name} `));
        assert.ok(text.includes(description), text);
        for (const option of Object.keys(options)) assert.match(text, new RegExp(` --${option} `));
        assert.doesNotMatch(text, /--host:realm|--docker:/);
      }
    });
  }
});
