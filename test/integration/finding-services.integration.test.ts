/** README.md: the program that it prints does what it says, as it is printed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, startHost } from '../helpers/host.ts';
import { cleanEnvironment, exitOf, needs } from '../helpers/run.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const serve = 'echo hello > /index.html; exec /bin/busybox httpd -f -p 80 -h /';

/** A directory in which the package is installed, with the program. */
function install(): { readonly directory: string; readonly program: string } {
  const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
  const [, text] = /## Finding services\n\n```js\n(.*?)```/s.exec(readme) ?? [];
  assert.ok(text, 'README.md has no program under "Finding services"');
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-readme-'));
  mkdirSync(path.join(directory, 'node_modules'));
  symlinkSync(root, path.join(directory, 'node_modules/docker-discover'));
  const program = path.join(directory, 'program.mjs');
  writeFileSync(program, text);
  return { directory, program };
}

test('the program of README.md calls a service by name while its containers are replaced and etcd restarts (real dockerd, real etcd)', {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, async () => {
  await using dockerd = await startDockerd();
  await using host = await startHost({ source: fromDockerd(dockerd), names: { ip: '127.0.0.1' }, ttl: 20 });
  const { directory, program } = install();
  const child = spawn(process.execPath, [program], {
    env: cleanEnvironment({ ETCDCTL_ENDPOINTS: host.etcd.endpoints.join(',') }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  try {
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
      });
    }
    const lines = (): string[] => output.split('\n').slice(0, -1);
    const start = async (): Promise<{ id: string; line: string }> => {
      const env = { DISCOVER: 'static-web-server:80' };
      const id = await dockerd.run({ env, ports: [80], command: ['sh', '-c', serve] });
      return { id, line: `http://127.0.0.1:${await dockerd.hostPort(id, '80/tcp')} 200` };
    };
    /** The next calls all went well, and to these. */
    const goesTo = async (...containers: readonly { line: string }[]): Promise<void> => {
      const wanted = new Set(containers.map(({ line }) => line));
      await eventually(() => {
        const last = lines().slice(-2 * wanted.size);
        assert.deepEqual(new Set(last), wanted, output.slice(-2000));
      });
    };
    await eventually(() => assert.equal(lines().at(-1), 'no instance failed', output));

    let [one, other] = [await start(), await start()];
    await goesTo(one, other);
    for (let replacements = 0; replacements < 3; replacements++) {
      const next = await start();
      await goesTo(one, other, next);
      await dockerd.docker('rm', '--force', one.id);
      [one, other] = [other, next];
      await goesTo(one, other);
    }

    await host.etcd.kill();
    const count = lines().length;
    await eventually(() => assert.ok(lines().length >= count + 10, 'Not yet'));
    for (const line of lines().slice(count)) assert.ok([one.line, other.line].includes(line), line);
    await host.etcd.restart();
    await dockerd.docker('rm', '--force', one.id);
    one = await start();
    await goesTo(one, other);
    assert.equal(child.exitCode, null, output);
  } finally {
    child.kill('SIGKILL');
    await exitOf(child);
    rmSync(directory, { recursive: true, force: true });
  }
});
