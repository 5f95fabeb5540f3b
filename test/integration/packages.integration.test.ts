/**
 * What `npm run package` makes: the program as one file, and the package for Debian. Both are made here, uncompressed,
 * for this architecture.
 *
 * In a fresh Debian they are shown by `packages.slow.ts`. The Node in them comes from npm, the first time.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { forkEngine } from '../../bench/engine/client.ts';
import { commandTable } from '../../src/commands/table.ts';
import { isPrintable, optionTable } from '../../src/config/options.ts';
import { assets } from '../../src/http/assets.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { makePackages, type Packages } from '../helpers/packages.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as { version: string };
/** No Node is in it. */
const env = { PATH: '/nonexistent', NO_COLOR: '1' };

describe('the packages', { skip: needs('npm', 'dpkg-deb', 'etcd', 'etcdctl') }, () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dsc-packages-'));
  let made: Packages;
  let root: string;
  before(async () => {
    made = await makePackages(folder, '--fast');
    root = path.join(folder, 'root');
    await run('dpkg-deb', ['--raw-extract', made.deb, root]);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('have a program that runs without Node and is of this size and starts in this time', async (t) => {
    assert.equal((await run(made.program, ['--version'], { env })).stdout, `${version}\n`);
    t.diagnostic(`${(statSync(made.program).size / 1e6).toFixed(0)} MB`);
    const commands = {
      'dist --version': [process.execPath, path.join(repository, 'dist/cli.js'), '--version'],
      '--version': [made.program, '--version'],
      health: [made.program, 'health', '--http:listen', '127.0.0.1:1'],
    };
    for (const [name, [command = '', ...args]] of Object.entries(commands)) {
      const times: number[] = [];
      for (let round = 0; round < amount(1, 7); round++) {
        const startedAt = performance.now();
        await run(command, args, { env }).catch(({ code }: { code: number }) => assert.equal(code, 69));
        times.push(performance.now() - startedAt);
      }
      t.diagnostic(`${name}: ${times.sort((a, b) => a - b)[times.length >> 1]?.toFixed(0)} ms`);
    }
  });

  test('have English, the time zones, and the forms of names in the Node of the program, and no other language', async (t) => {
    const file = (name: string): string => path.join(folder, name);
    const { withBlob } = (await import(path.join(repository, 'deploy/package/elf.mjs'))) as {
      withBlob(program: Buffer, blob: Buffer): Buffer;
    };
    const { fetchNode } = (await import(path.join(repository, 'deploy/package/node.mjs'))) as {
      fetchNode(arch: string): string;
    };
    const node = path.join(fetchNode(process.arch), 'bin/node');
    const code = `
      const at = new Date('2026-07-01T12:00:00Z');
      const month = (language) => at.toLocaleString(language, { month: 'long', hour: 'numeric', timeZone: 'Asia/Tokyo' });
      console.log(JSON.stringify([
        month('en'), month('de'), ['z', 'ä', 'a'].sort((a, b) => a.localeCompare(b)).join(''), 'ﬁ'.normalize('NFKC'),
        new URL('http://münchen.example').hostname, /^\\p{Lu}$/u.test('Ä'), new TextDecoder('utf-16le').decode(Buffer.of(65, 0)),
        new TextDecoder('latin1').decode(Buffer.of(228)),
      ]));`;
    writeFileSync(file('main.js'), code);
    const settings = { main: file('main.js'), output: file('blob'), disableExperimentalSEAWarning: true };
    writeFileSync(file('settings.json'), JSON.stringify(settings));
    await run(node, ['--experimental-sea-config', file('settings.json')]);
    const program = withBlob(readFileSync(node), readFileSync(file('blob')));
    writeFileSync(file('program'), program, { mode: 0o755 });
    t.diagnostic(`${(statSync(node).size / 1e6).toFixed(0)} MB before, ${(program.length / 1e6).toFixed(0)} MB after`);
    assert.ok(program.length < 0.7 * statSync(node).size, 'The other languages are still there');
    const answer = JSON.parse((await run(file('program'), [], { env })).stdout);
    const english = 'July at 9 PM';
    assert.deepEqual(answer, [english, english, 'aäz', 'fi', 'xn--mnchen-3ya.example', true, 'A', 'ä']);
  });

  test('have the SDK for EC2 in the program', async () => {
    const access = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_REGION: 'r' };
    const place = { AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_EC2_METADATA_DISABLED: 'true', AWS_MAX_ATTEMPTS: '1' };
    const asked = run(made.program, ['reap', '--source', 'ec2'], { env: { ...env, ...access, ...place } });
    await assert.rejects(asked, { code: 69, stderr: 'discover: EC2: connect ECONNREFUSED 127.0.0.1:1\n' });
  });

  test('have a program that publishes, with threads of its own and the page (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 3 });
    const args = ['--http:listen', path.join(folder, 'http.sock'), '--workers', '1'];
    await using host = await startHost({ source: fromEngine(engine), run: { program: [made.program] }, args });
    await engine.run([{ env: ['DISCOVER=web:8080'], ports: [{ container: '8080/tcp' }] }]);
    await host.converged();
    const ask = async (place: string): Promise<string> => {
      const call = ['--silent', '--fail', '--unix-socket', path.join(folder, 'http.sock'), `http://localhost${place}`];
      return (await run('curl', call)).stdout;
    };
    assert.match(await ask('/metrics'), /^discover_pool_threads\S* 1$/m);
    for (const place of assets.keys()) {
      const file = place === '/' ? 'index.html' : place;
      assert.equal(await ask(place), readFileSync(path.join(repository, 'dist/page', file), 'utf8'), place);
    }
    assert.equal((await host.terminate()).code, 0);
  });

  test('have a deb with every file whole, root’s and in its place, and none in /etc', async () => {
    const { stdout: list } = await run('dpkg-deb', ['--contents', made.deb]);
    const lines = list.trim().split('\n');
    assert.deepEqual(
      lines.filter((line) => !/^(d|-)rw(x|-)r-(x|-)r-(x|-) root\/root /.test(line)),
      [],
    );
    const files = lines.filter((line) => !line.startsWith('d')).map((line) => line.split(' ./')[1] ?? '');
    assert.deepEqual(
      files.filter((file) => !/^usr\/(bin|lib|share)\//.test(file)),
      [],
    );
    const sums = readFileSync(path.join(root, 'DEBIAN/md5sums'), 'utf8').trim().split('\n');
    assert.deepEqual(sums.map((line) => line.slice(34)).sort(), files.sort());
    for (const line of sums) {
      const sum = createHash('md5').update(readFileSync(path.join(root, line.slice(34))));
      assert.equal(line.slice(0, 32), sum.digest('hex'), line);
    }
  });

  test('have a deb that names this version, and asks for no package that a fresh Debian lacks', async () => {
    const fields = ['Package', 'Version', 'Depends', 'Conflicts', 'Architecture'];
    const { stdout } = await run('dpkg-deb', ['--field', made.deb, ...fields]);
    assert.match(stdout, new RegExp(`^Version: ${version.replaceAll('.', '\\.')}$`, 'm'));
    assert.match(stdout, /^Depends: libc6 \(>= 2\.28\), libgcc-s1, libstdc\+\+6 \(>= 8\), passwd$/m);
    const { stdout: asked } = await run('ldd', [made.program]);
    const libraries = [...asked.matchAll(/^\t(\S+)/gm)].map(([, name = '']) => path.basename(name));
    const known = /^(linux-vdso|lib(dl|m|c|pthread|stdc\+\+|gcc_s)|ld-linux-.*)\.so/;
    assert.deepEqual(
      libraries.filter((name) => !known.test(name)),
      [],
    );
  });

  test('have the unit of deploy, which waits for a configuration, and scripts that a shell can read', async () => {
    const lines = (file: string): Set<string> => new Set(readFileSync(file, 'utf8').split('\n'));
    const unit = lines(path.join(root, 'usr/lib/systemd/system/discover.service'));
    const published = lines(path.join(repository, 'deploy/discover.service'));
    const added = [...unit].filter((line) => !published.has(line) && !line.startsWith('#'));
    assert.deepEqual(added, [
      'Documentation=man:discover(1) https://www.npmjs.com/package/docker-discover',
      'ConditionPathExists=/etc/discover/config.json',
      'ExecStart=/usr/bin/discover --config /etc/discover/config.json',
    ]);
    // A small Debian lacks others, such as the program kill.
    const programs = [...unit].flatMap((line) => /^Exec\w+=(\S+)/.exec(line)?.[1] ?? []);
    assert.deepEqual(programs, ['/usr/bin/discover', 'sh']);
    for (const script of ['postinst', 'prerm', 'postrm']) {
      await run('sh', ['-n', path.join(root, 'DEBIAN', script)]);
      assert.equal(statSync(path.join(root, 'DEBIAN', script)).mode & 0o777, 0o755);
    }
  });

  test('have a man page with every command and option, and completion for two shells', () => {
    const page = gunzipSync(readFileSync(path.join(root, 'usr/share/man/man1/discover.1.gz'))).toString();
    const text = page.replaceAll('\\-', '-');
    for (const name of Object.keys(commandTable)) assert.match(text, new RegExp(`^\\.B discover ${name}$`, 'm'));
    for (const { path: option } of optionTable.filter((one) => isPrintable(one.path))) {
      assert.match(text, new RegExp(`^\\.B (-\\w, )?--${option.replaceAll('.', ':')}$`, 'm'));
    }
    const requests = [...page.matchAll(/^[.'](\S*)/gm)].map(([, request]) => request);
    assert.deepEqual([...new Set(requests)].sort(), ['B', 'I', 'PP', 'RE', 'RS', 'SH', 'SS', 'TH', 'TP']);
    for (const file of ['bash-completion/completions/discover', 'zsh/vendor-completions/_discover']) {
      assert.ok(existsSync(path.join(root, 'usr/share', file)), file);
    }
  });
});
