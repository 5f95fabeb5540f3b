/** `discover init`: the file that it writes, what it never replaces, and what it asks. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, describe, test } from 'node:test';
import { runCommandLine } from '../../src/commands/command-line.ts';

const directory = mkdtempSync(join(tmpdir(), 'discover-init-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const nowhere = ['--docker:socketPath', '/nowhere/docker.sock', '--etcd:endpoints', '127.0.0.1:1'];
const place = [...nowhere, '--host:ip', '10.0.0.5'];

/** `lines`: what a person types at a terminal. */
async function run(args: readonly string[], env: Record<string, string> = {}, lines?: readonly string[]) {
  let [out, err] = ['', ''];
  const stdin = Object.assign(Readable.from((lines ?? []).map((line) => `${line}\n`)), { isTTY: lines !== undefined });
  const write = (text: string): void => {
    out += text;
  };
  const warn = (text: string): void => {
    err += `${text}\n`;
  };
  const io = { stdin, write, warn, isTerminal: lines !== undefined };
  const code = await runCommandLine(['init', ...args], env, io, () => Promise.reject(new Error('It runs the agent')));
  return { code, out, err };
}
const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));

describe('discover init (nothing answers)', () => {
  test('writes the given options with their types, leaves secrets out, and ends as doctor does', async () => {
    const file = join(directory, 'new', 'config.json');
    const env = { DISCOVER_ETCD_PASSWORD: 'secret', DISCOVER_ETCD_TTL: '60', DISCOVER_ETCD_USERNAME: 'me' };
    const { code, out, err } = await run(['--config', file, ...place], env);
    assert.deepEqual(read(file), {
      docker: { socketPath: '/nowhere/docker.sock' },
      etcd: { endpoints: ['127.0.0.1:1'], ttl: 60, username: 'me' },
      host: { ip: '10.0.0.5' },
    });
    assert.deepEqual(readdirSync(join(directory, 'new')), ['config.json']);
    assert.match(err, /etcd\.password is a secret and is not written/);
    assert.match(out, /^Written: .*config\.json\n(.*\n)*failed +docker /);
    assert.equal(code, 1);
  });

  test('never replaces a file unless it is forced', async () => {
    const file = join(directory, 'there.json');
    writeFileSync(file, '{}');
    const { code, err } = await run(['--config', file, ...place]);
    assert.equal(code, 73);
    assert.match(err, /there\.json is there and was not changed: --force replaces it/);
    assert.equal(readFileSync(file, 'utf8'), '{}');
    await run(['--config', file, '--force', ...place]);
    assert.match(readFileSync(file, 'utf8'), /10\.0\.0\.5/);
  });

  test('where it cannot write, it prints the file and says why', async () => {
    const file = join(directory, 'a-file', 'config.json');
    writeFileSync(join(directory, 'a-file'), '');
    const { code, out, err } = await run(['--config', file, ...place]);
    assert.equal(code, 73);
    assert.equal((JSON.parse(out) as { host: { ip: string } }).host.ip, '10.0.0.5');
    assert.match(err, /^Cannot write .*config\.json, so its content is on standard output: /);
  });

  test('a dry run prints the file and writes nothing', async () => {
    mkdirSync(join(directory, 'dry'));
    const { code, out } = await run([
      '--config',
      join(directory, 'dry', 'x.json'),
      '-n',
      ...place,
      '--host:realm',
      'b',
    ]);
    assert.equal(code, 0);
    assert.match(out, /"realm": "b"/);
    assert.ok(!existsSync(join(directory, 'dry', 'x.json')));
  });

  test('asks at a terminal for what is not given, again after a mistake, and writes no empty answer', async () => {
    const file = join(directory, 'asked.json');
    const answers = ['nonsense', '10.0.0.9', '', 'blue', '9320'];
    const { out, err } = await run(['--config', file, ...nowhere], {}, answers);
    assert.match(err, /^host\.ip .* must be /m);
    assert.equal(out.match(/Address at which other machines reach this one \[/g)?.length, 2);
    const written = read(file) as { host: object; http: object };
    assert.deepEqual([written.host, Object.keys(written.http)], [{ ip: '10.0.0.9', realm: 'blue' }, ['listen']]);
  });

  test('a value that is not allowed is refused before anything is looked for', async () => {
    const { code, err } = await run(['--config', join(directory, 'x.json'), '--host:ip', 'nonsense']);
    assert.equal(code, 78);
    assert.match(err, /host\.ip \(command line\) must be /);
  });
});
