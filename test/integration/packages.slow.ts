/**
 * The package for Debian on a host as a stranger has it: a fresh Debian 12 and 13, without systemd and without Node.
 *
 *     npm run build && node --import ./test/loader.mjs --test test/integration/packages.slow.ts
 *
 * It is installed, configured, run, upgraded under load, removed and purged, and installed where `/etc` cannot be written. Under a real
 * systemd it is shown by `packages-systemd.slow.ts`. The first run makes the two roots with debootstrap, in minutes.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { startEtcd } from '../helpers/etcd.ts';
import { eventually } from '../helpers/eventually.ts';
import { type FreshRoot, freshRoot } from '../helpers/fresh-root.ts';
import { assertOnlyDeadDeleted, freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { makePackages, type Packages } from '../helpers/packages.ts';
import { cleanEnvironment, exitOf, isAlive, needs, requireCommand, runDiscover } from '../helpers/run.ts';

const run = promisify(execFile);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dsc-packages-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const version = '1.0.0';
const config = '/etc/discover/config.json';
const noEngine = needs('dockerd', 'docker', 'busybox', 'dig', 'promtool', 'prometheus', 'root');

describe('the package for Debian', { skip: needs('npm', 'dpkg-deb', 'debootstrap', 'etcd', 'etcdctl', 'root') }, () => {
  let first: Packages;
  let second: Packages;
  before(async () => {
    first = await makePackages(path.join(folder, 'first'), '--version', version);
    second = await makePackages(path.join(folder, 'second'), '--version', '1.0.1', '--fast');
  });

  test('is the same file when it is made again, small, and without complaints of lintian', async (t) => {
    const again = await makePackages(path.join(folder, 'again'), '--version', '1.0.1', '--fast');
    assert.ok(readFileSync(again.deb).equals(readFileSync(second.deb)));
    const mb = (file: string): string => `${(statSync(file).size / 1e6).toFixed(1)} MB`;
    t.diagnostic(`program ${mb(first.program)}, deb ${mb(first.deb)}`);
    if (needs('lintian') !== false) return t.diagnostic('lintian is not installed');
    const strict = ['--allow-root', '--display-level', '>=info', '--fail-on', 'error,warning,info'];
    const { stdout } = await run('lintian', [...strict, first.deb]);
    assert.equal(stdout, '');
  });

  test('is made for the other architecture as well, with the blob where Node looks for it', async () => {
    const arch = process.arch === 'arm64' ? 'amd64' : 'arm64';
    const { program, deb } = await makePackages(path.join(folder, 'other'), '--fast', '--arch', arch);
    const { stdout } = await run('dpkg-deb', ['--field', deb, 'Architecture']);
    assert.equal(stdout.trim(), arch);
    const bytes = readFileSync(program);
    assert.equal(bytes.readUInt16LE(18), arch === 'arm64' ? 183 : 62);
    assert.deepEqual(notesOf(bytes), ['GNU', 'GNU', 'NODE_SEA_BLOB']);
  });

  for (const [release, name] of [
    ['bookworm', '12'],
    ['trixie', '13'],
  ] as const) {
    describe(`on a fresh Debian ${name}`, () => {
      let guest: FreshRoot;
      let engine: EngineHandle;
      let host: Host;
      before(async () => {
        guest = await freshRoot(release);
        engine = await forkEngine({ containers: 100 });
        host = await startHost({ source: fromEngine(engine), idle: true });
      });
      after(async () => {
        await host?.[Symbol.asyncDispose]();
        await engine?.[Symbol.asyncDispose]();
        await guest?.[Symbol.asyncDispose]();
      });
      /** The agent of the package, inside. */
      const launch = () =>
        host.launch([], { program: [...guest.enter, '/usr/bin/discover', '--config', config], cwd: '/' });

      test('is installed by one command, beside an older Node, and says what is left to do', async (t) => {
        await guest.shell('printf "#!/bin/sh\\nexit 1\\n" > /usr/local/bin/node; chmod 755 /usr/local/bin/node');
        const began = performance.now();
        const said = await guest.shell(`apt-get install -y ${first.deb}`);
        t.diagnostic(`installed in ${((performance.now() - began) / 1000).toFixed(1)} s`);
        assert.match(said, /there is no configuration yet. Write one with: discover init$/m);
        assert.match(said, /systemd does not run here: have your supervisor run discover --config \S+config\.json$/m);
        assert.equal(await guest.shell('discover --version'), `${ownVersion()}\n`);
        assert.match(await guest.shell('getent passwd discover; getent group docker'), /^discover:.*nologin\ndocker:/);
        assert.equal(await guest.shell('dpkg --verify docker-discover; dpkg --audit'), '');
        const enabled = 'etc/systemd/system/multi-user.target.wants/discover.service';
        assert.ok(readdirSync(path.join(guest.root, path.dirname(enabled))).includes('discover.service'));
      });

      test('shows the demo on that host', async () => {
        assert.match(await guest.shell('discover demo --seconds 2'), /^\d+ events, \d+ inspections, \d+ keys in/m);
      });

      test('has a command that writes the configuration, and an agent that runs with it', async () => {
        const options = `--docker:socketPath ${engine.socketPath} --etcd:endpoints ${host.etcd.endpoints[0]}`;
        const said = await guest.shell(`discover init --yes ${options} --host:id h1 --host:ip 10.0.0.5 || true`);
        assert.match(said, /^Written: \/etc\/discover\/config\.json$/m);
        await launch();
        await host.converged();
      });

      test('is upgraded while 100 containers come and go, and the agent runs on until it is restarted', async () => {
        const { pid } = host.discover;
        const churned = engine.churn({ rate: 50, seconds: 6, lifetimeMs: 2_000, survivors: 0.2 });
        const said = await guest.shell(`apt-get install -y ${second.deb}`);
        assert.match(said, /systemd does not run here: restart discover with the supervisor that started it$/m);
        assert.ok(isAlive(pid), 'the agent was ended');
        assert.equal((await host.terminate()).code, 0);
        await launch();
        await churned;
        await host.converged();
        assertOnlyDeadDeleted(await host.changesSince(0), (await churned).lifecycles);
        assert.ok(existsSync(path.join(guest.root, config)));
      });

      test('is removed with its program, and leaves the configuration and all that is in etcd', async () => {
        await host.terminate();
        const keys = await host.held();
        assert.ok(keys.size > 0);
        const said = await guest.shell('apt-get remove -y docker-discover');
        assert.match(said, /the keys of this host end with their lease, after etcd\.ttl/);
        assert.deepEqual(await host.held(), keys);
        assert.ok(!existsSync(path.join(guest.root, 'usr/bin/discover')));
        assert.ok(existsSync(path.join(guest.root, config)));
      });

      test('is purged with what it has written, and with nothing else', async () => {
        const secret = path.join(guest.root, 'etc/discover/etcd-password');
        writeFileSync(secret, 'secret');
        const keys = await host.held();
        const said = await guest.shell('apt-get purge -y docker-discover');
        assert.match(said, /\/etc\/discover has files of your own, which stay$/m);
        assert.deepEqual(await host.held(), keys);
        assert.ok(!existsSync(path.join(guest.root, config)));
        assert.equal(readFileSync(secret, 'utf8'), 'secret');
        const left = await guest.shell(`find / -xdev -name '*discover*' \\
          -not -path '/tmp/*' -not -path '/proc/*' -not -path '/etc/discover/*' -not -path '/var/log/*'`);
        assert.deepEqual(left.trim().split('\n'), ['/etc/discover']);
      });

      test('leads from nothing to a service with a name, a page and alerts (real dockerd, real etcd)', {
        skip: noEngine,
      }, async (t) => {
        await using other = await freshRoot(release);
        const dockerd = await startDockerd();
        const etcd = await startEtcd();
        const [http, dns] = [await freePort(), await freePort()];
        let began = performance.now();
        const done = (what: string): void => {
          t.diagnostic(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
          began = performance.now();
        };
        try {
          await other.shell(`mkdir -p /var/run; ln -s ${dockerd.socketPath} /var/run/docker.sock`);
          began = performance.now();
          await other.shell(`apt-get install -y ${first.deb}`);
          done('the package');
          const listen = `--http:listen 127.0.0.1:${http} --dns:listen 127.0.0.1:${dns}`;
          const options = `--etcd:endpoints ${etcd.endpoints[0]} --host:ip 10.0.0.5 --host:id h1 ${listen}`;
          assert.match(await other.shell(`discover init --yes ${options} || true`), /^Written: /m);
          done('the configuration');
          await using agent = runDiscover(['--config', config], { program: [...other.enter, '/usr/bin/discover'] });
          await agent.waitForLog(({ msg }) => msg === 'started');
          done('the agent');
          const id = await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
          const address = `10.0.0.5:${await dockerd.hostPort(id, '80/tcp')}`;
          await eventually(async () => assert.equal(await other.shell('discover get web'), `${address}\n`));
          done('a published container, by discover get');
          const { stdout } = await run('dig', [
            '+short',
            '@127.0.0.1',
            '-p',
            `${dns}`,
            'web.default.discover.internal',
          ]);
          assert.equal(stdout, '10.0.0.5\n');
          done('its name in DNS');
          assert.match(await (await fetch(`http://127.0.0.1:${http}/`)).text(), /<!doctype html>/i);
          done('the page');
          const rules = path.join(other.root, 'usr/share/doc/docker-discover/examples/prometheus-rules.yaml');
          await run('promtool', ['check', 'rules', rules]);
          await using prometheus = await startPrometheus(rules, http);
          await eventually(async () => assert.deepEqual(await prometheus.alerts(), []), { timeoutMs: 60_000 });
          etcd.pause();
          await eventually(async () => assert.ok((await prometheus.alerts()).includes('DiscoverEtcdAway firing')), {
            timeoutMs: 120_000,
          });
          etcd.resume();
          done('an alert that etcd is away, which waits for 30 s');
          agent.signal('SIGTERM');
          assert.equal((await agent.exit).code, 0);
        } finally {
          await dockerd.close();
          await etcd.close();
        }
      });

      test('is installed where /etc cannot be written, and says what it left undone', async () => {
        await using other = await freshRoot(release);
        const etc = path.join(other.root, 'etc');
        await run('mount', ['--bind', etc, etc]);
        try {
          await run('mount', ['-o', 'remount,ro,bind', etc]);
          const said = await other.shell(`apt-get install -y ${first.deb}`);
          assert.match(said, /\/etc is read-only: no user was made, and the service is not enabled\./);
          assert.match(await other.shell('dpkg -s docker-discover'), /^Status: install ok installed$/m);
          assert.match(await other.shell('discover config --host:ip 10.0.0.5'), /^host\.ip +10\.0\.0\.5/m);
          await run('mount', ['-o', 'remount,rw,bind', etc]);
          await other.shell('dpkg-reconfigure docker-discover');
          assert.match(await other.shell('getent passwd discover'), /^discover:/);
        } finally {
          await run('umount', ['--lazy', etc]);
        }
      });
    });
  }
});

const ownVersion = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** Prometheus with the rules of the package, and its alerts as `<name> <state>` once it has seen the agent. */
async function startPrometheus(
  rules: string,
  http: number,
): Promise<AsyncDisposable & { alerts(): Promise<readonly string[]> }> {
  const own = mkdtempSync(path.join(folder, 'prometheus-'));
  const port = await freePort();
  const file = path.join(own, 'prometheus.yml');
  writeFileSync(
    file,
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ['${rules}']
scrape_configs:
  - job_name: discover
    static_configs: [{ targets: ['127.0.0.1:${http}'] }]
`,
  );
  const place = [`--storage.tsdb.path=${path.join(own, 'data')}`, `--web.listen-address=127.0.0.1:${port}`];
  const child = spawn(requireCommand('prometheus'), [`--config.file=${file}`, ...place], {
    stdio: 'ignore',
    env: cleanEnvironment(),
  });
  const ask = async (question: string): Promise<unknown> =>
    (await fetch(`http://127.0.0.1:${port}/api/v1/${question}`)).json();
  return {
    async alerts() {
      const seen = (await ask('query?query=discover_etcd_connected')) as { data: { result: readonly unknown[] } };
      assert.equal(seen.data.result.length, 1, 'Prometheus has not seen the agent yet');
      const { data } = (await ask('alerts')) as {
        data: { alerts: readonly { labels: { alertname: string }; state: string }[] };
      };
      return data.alerts.map(({ labels, state }) => `${labels.alertname} ${state}`);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exitOf(child);
    },
  };
}

/** The names of the notes in the segment that holds them. */
function notesOf(bytes: Buffer): string[] {
  const names: string[] = [];
  for (let index = 0; index < bytes.readUInt16LE(56); index++) {
    const at = 64 + index * 56;
    if (bytes.readUInt32LE(at) !== 4) continue;
    let position = Number(bytes.readBigUInt64LE(at + 8));
    const end = position + Number(bytes.readBigUInt64LE(at + 32));
    while (position < end) {
      const [nameSize, size] = [bytes.readUInt32LE(position), bytes.readUInt32LE(position + 4)];
      names.push(bytes.toString('latin1', position + 12, position + 12 + nameSize - 1));
      position += 12 + Math.ceil(nameSize / 4) * 4 + Math.ceil(size / 4) * 4;
    }
  }
  return names;
}
