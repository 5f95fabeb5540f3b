/**
 * The commands that the documents give an operator, typed as they are printed: on a simulated engine and a real etcd.
 *
 * `discover` is the built program, `sudo` runs what follows, `systemctl` does nothing. Ports, folders and the name of
 * the host are those of the test. `etcd-from-zero.integration.test.ts` runs the rest.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { block, root } from '../helpers/documents.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { cleanEnvironment, needs, runDiscover, scratchDirectory } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

const image = { env: ['DISCOVER=static-web-server:8080'], ports: [{ container: '8080/tcp' }] };

describe('The commands of the documents', { skip: needs('etcd', 'etcdctl', 'curl', 'dig'), timeout: 300_000 }, () => {
  const directory = scratchDirectory('howtos', os.tmpdir());
  const programs = path.join(directory, 'bin');
  const installed = path.join(directory, 'etc');
  let engine: EngineHandle;
  let host: Host;
  let dns: number;
  let http: number;

  before(async () => {
    mkdirSync(programs);
    mkdirSync(installed);
    writeFileSync(path.join(installed, 'config.json'), '{}');
    const scripts = {
      discover: `exec ${process.execPath} ${path.join(root, 'dist/cli.js')} "$@"`,
      sudo: 'exec "$@"',
      systemctl: 'exit 0',
    };
    for (const [name, text] of Object.entries(scripts))
      writeFileSync(path.join(programs, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    [dns, http] = [await freePort(), await freePort()];
    engine = await forkEngine({ containers: 0 });
    const args = ['--dns:listen', String(dns), '--http:listen', String(http)];
    host = await startHost({ source: fromEngine(engine), names: { realm: 'production' }, args });
    await engine.run([image]);
    await host.converged();
  });
  after(async () => {
    await host?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const shell = async (text: string, endpoint = host.etcd.endpoint): Promise<string> => {
    const clean = cleanEnvironment({
      ETCDCTL_ENDPOINTS: endpoint,
      DOCKER_HOST: `unix://${engine.socketPath}`,
      DISCOVER_HOST_ID: 'h1',
      DISCOVER_HOST_IP: '10.0.0.5',
      DISCOVER_CONFIG: path.join(installed, 'config.json'),
    });
    const env = { ...clean, PATH: `${programs}:${clean.PATH}` };
    const here = text
      .replaceAll('5353', String(dns))
      .replaceAll('9320', String(http))
      .replaceAll('host-1', 'h1')
      .replaceAll('/etc/discover', installed);
    const options = { cwd: directory, env };
    return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', here], options)).stdout;
  };
  const address = async (): Promise<string> =>
    [...(await host.held()).values()]
      .map(String)
      .find((value) => value.startsWith('tcp://'))
      ?.replace('tcp://', '') ?? '';

  test('README.md: every way to find a service finds its instance (simulated engine, real etcd)', async () => {
    const lines = block('README.md', 'discover ls static-web-server').split('\n');
    const [ip = '', port = ''] = (await address()).split(':');
    for (const line of lines.filter((one) => !one.includes(' watch '))) {
      const text = await shell(line);
      assert.ok(text.includes(port), `${line}\n${text}`);
      if (!line.startsWith('dig ')) assert.ok(text.includes(ip), `${line}\n${text}`);
    }
    const [watching = ''] = lines.filter((one) => one.includes(' watch '));
    writeFileSync(path.join(directory, 'reload-proxy'), '#!/bin/sh\necho "$DISCOVERED" > reloaded\n', { mode: 0o755 });
    const [, service = '', exec = ''] = /^discover watch (\S+) --exec '(.*)' --wait \S+$/.exec(watching) ?? [];
    const args = ['watch', service, '--realm', 'production', '--exec', exec, '--wait', '10ms:50ms'];
    await using _watch = runDiscover([...args, '--etcd:endpoints', host.etcd.endpoint], { cwd: directory });
    await eventually(async () =>
      assert.equal(readFileSync(path.join(directory, 'reloaded'), 'utf8').trim(), await address()),
    );
  });

  testInFull('src/client/README.md: its programs run (simulated engine, real etcd)', async () => {
    const server = createServer((_request, response) => response.end('["an order"]'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const etcd = await startEtcd();
    try {
      await etcd.put(new Map([['/discover/service/orders/production/h9/0123456789ab', `tcp://127.0.0.1:${port}`]]));
      const own = path.join(directory, 'client');
      mkdirSync(path.join(own, 'node_modules'), { recursive: true });
      symlinkSync(root, path.join(own, 'node_modules/docker-discover'));
      symlinkSync(path.join(root, 'node_modules/@grpc'), path.join(own, 'node_modules/@grpc'));
      const imports = "import { DiscoverClient } from 'docker-discover/client';";
      const made = `${imports} const client = new DiscoverClient({ endpoints: ['etcd-1:2379'] });`;
      const greeter = "import grpc from '@grpc/grpc-js'; const { credentials } = grpc;";
      const programs: readonly (readonly [start: string, before: string, after: string, output: RegExp])[] = [
        ['import { DiscoverClient, discoverFetch }', '', 'console.log(orders[0]);', /^an order$/],
        ['for await', made, '', /^0$/],
        [
          'const client = new',
          `${imports} const endpoints = ['etcd-1:2379'];`,
          'console.log(instance);',
          /^undefined$/,
        ],
        [
          'import { registerDiscoverResolver }',
          `${greeter} ${made} class Greeter {}`,
          'console.log("made");',
          /^made$/,
        ],
      ];
      for (const [start, before, after, output] of programs) {
        // The loop ends with its first set.
        const text = block('src/client/README.md', start).replace(
          /\n\}$/,
          '\n  console.log(draining.length); break;\n}',
        );
        const program = path.join(own, 'program.mjs');
        const whole = [before, text, after, 'await client.close();'].join('\n');
        writeFileSync(program, whole.replaceAll('etcd-1:2379', etcd.endpoint));
        const { stdout } = await promisify(execFile)(process.execPath, [program], { env: cleanEnvironment() });
        assert.match(stdout.trim(), output, start);
      }
    } finally {
      await etcd.close();
      server.close().closeAllConnections();
    }
  });

  testInFull('deploy/fleet.md: a configuration is rolled out and checked (simulated engine, real etcd)', async () => {
    const given = JSON.parse(block('deploy/fleet.md', '{')) as Readonly<Record<'etcd' | 'host' | 'http', object>>;
    // The address of this host is that of the tests.
    const { cidr, ...own } = given.host as { readonly cidr: unknown };
    const config = { ...given, etcd: { endpoints: [host.etcd.endpoint] }, host: own, http: { listen: http } };
    writeFileSync(path.join(directory, 'config.json'), JSON.stringify(config));
    assert.ok(cidr);
    const text = await shell(block('deploy/fleet.md', 'sudo install -m 644'));
    assert.match(text, /host\.realm\s+production/);
  });

  testInFull(
    'deploy/README.md: a host is taken out of traffic and comes back (simulated engine, real etcd)',
    async () => {
      const lines = block('deploy/README.md', 'discover maintenance on --host').split('\n');
      const [on = '', ls = '', reboot = '', off = ''] = lines;
      // A recorder takes the decision for a key that is not of this host.
      await using other = await startHost({ source: fromEngine(engine), record: false });
      const { endpoint } = other.etcd;
      const services = async (): Promise<number> =>
        [...(await other.held()).keys()].filter((key) => key.startsWith('/discover/service/')).length;
      await other.converged();
      await shell(on, endpoint);
      await eventually(async () => assert.equal(await services(), 0));
      await shell(`${ls} || test $? = 1`, endpoint);
      await shell(reboot);
      await shell(off, endpoint);
      await other.converged();
    },
  );

  testInFull('deploy/fleet.md: reap lists and then deletes the keys of a host that is gone (real etcd)', async () => {
    // Beside this host, whose agent lives, the helper has put keys of one that has none.
    await using other = await startHost({ source: fromEngine(engine), record: false });
    const { endpoint } = other.etcd;
    const gone = async (): Promise<number> => (await other.etcd.get('/discover/host/h1x/')).size;
    const [dry = '', wet = ''] = block('deploy/fleet.md', 'discover reap').split('\n');
    await assert.rejects(shell(dry, endpoint), ({ code, stdout }) => code === 1 && /h1x/.test(stdout));
    assert.equal(await gone(), 1);
    await shell(wet, endpoint);
    assert.equal(await gone(), 0);
  });

  test('deploy/upgrade.md: another version takes over and back, and readers see nothing (simulated engine, real etcd)', async () => {
    // The program as a package of another version has it.
    const other = path.join(directory, 'other');
    mkdirSync(other);
    cpSync(path.join(root, 'dist'), path.join(other, 'dist'), { recursive: true });
    const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as object;
    writeFileSync(path.join(other, 'package.json'), JSON.stringify({ ...manifest, version: '1.9.0' }));
    symlinkSync(path.join(root, 'node_modules'), path.join(other, 'node_modules'));
    const versionOf = async (): Promise<unknown> =>
      JSON.parse((await host.etcd.get('/discover/owner/h1')).get('/discover/owner/h1') ?? '{}').version;
    const before = await versionOf();
    const count = await host.mark();
    await host.terminate();
    await host.launch([], { script: path.join(other, 'dist/cli.js') });
    await host.converged();
    assert.equal(await versionOf(), '1.9.0');
    await host.terminate();
    await host.launch();
    await host.converged();
    assert.equal(await versionOf(), before);
    assert.deepEqual(await host.changesSince(count), []);
  });

  test('deploy/readers.md: a lost lease is the deletions that it shows, in one revision (simulated engine, real etcd)', async () => {
    await using other = await startHost({ source: fromEngine(engine), ttl: 2, idle: true });
    await other.launch();
    await other.converged();
    const [read = '', watch = ''] = block('deploy/readers.md', 'etcdctl get --prefix /discover/service').split('\n');
    const whole = (line: string): string => line.replace('/service/web/default/', '/');
    const { header } = JSON.parse(await shell(whole(read), other.etcd.endpoint)) as { header: { revision: number } };
    other.discover.signal('SIGKILL');
    await eventually(() => other.assertGone());
    // A watch does not end by itself.
    const past = `timeout 20 ${whole(watch).replace('1200', String(header.revision + 1))} | sed -u '/./!d; /service/q'`;
    const shown = (await shell(`{ ${past}; } || true`, other.etcd.endpoint)).trim();
    const asPrinted = shown.replaceAll(/[0-9a-f]{12}$/gm, '2a03efc597e9').replaceAll('/h1', '/host-1');
    assert.equal(asPrinted.replace('static-web-server', 'web'), block('deploy/readers.md', 'DELETE'));
  });
});
