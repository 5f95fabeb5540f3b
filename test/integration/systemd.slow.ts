/**
 * discover as a service, as deploy/README.md has it, under a real systemd with the unit as it is:
 *
 *     npm run build && node --import ./test/loader.mjs --test test/integration/systemd.slow.ts
 *
 * What is said by the protocol is in `service-manager.integration.test.ts`; this is what systemd makes of it. It needs
 * root and systemd-nspawn, which is in Debian's systemd-container.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { expected, fromDockerd, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { type Systemd, startSystemd } from '../helpers/systemd.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const programs = ['dockerd', 'docker', 'busybox', 'etcd', 'etcdctl', 'npm', 'systemd-nspawn', 'nsenter', 'root'];
const quiet = '--ignore-scripts --prefer-offline --no-audit --no-fund';
const patient = { timeoutMs: 20_000 };
const ttlSeconds = 5;

/** What the document has an operator type. */
const readme = readFileSync(path.join(repository, 'deploy/README.md'), 'utf8');
const lines = (/## As a service\n\n((?: {4}.*\n)+)/.exec(readme)?.[1] ?? '').trim().split(/\n */);

describe('discover under systemd (real systemd, dockerd and etcd)', {
  skip: needs(...programs),
  timeout: 300_000,
}, () => {
  let dockerd: Dockerd;
  let host: Host;
  let systemd: Systemd;

  before(async () => {
    dockerd = await startDockerd();
    await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
    host = await startHost({ source: fromDockerd(dockerd), idle: true });
    systemd = await startSystemd([`${dockerd.socketPath}:/run/docker.sock`]);
    // As the package of the engine has it.
    const group = /^docker:[^:]*:(\d+):/m.exec(readFileSync('/etc/group', 'utf8'))?.[1];
    chownSync(dockerd.socketPath, 0, Number(group));
    const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', path.join(systemd.root, 'root')];
    const { stdout } = await promisify(execFile)('npm', pack, { cwd: repository, maxBuffer: 1 << 26 });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    const [install = '', ...others] = lines;
    assert.equal(install, 'npm install -g docker-discover');
    await systemd.shell(install.replace('docker-discover', `${quiet} /root/${filename}`));
    // The etcd is not where init looks for one, so its diagnosis ends with 1.
    const outcomes: Readonly<Record<string, string>> = { 'discover init': 'discover init || [ $? = 1 ]' };
    for (const line of others.slice(0, -1)) {
      const command = line.replace(/^sudo /, '');
      await systemd.shell(outcomes[command] ?? command);
    }
    configure();
  });

  after(async () => {
    await systemd?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
    await dockerd?.close();
  });

  /** What an operator has to say of a host whose address and name cannot be told from within. */
  const configure = (more: object = {}): void => {
    const { id, ip, realm } = host.names;
    const etcd = { endpoints: host.etcd.endpoints, ttl: ttlSeconds };
    const options = { etcd, host: { id, ip, realm, ...more } };
    writeFileSync(path.join(systemd.root, 'etc/discover/config.json'), JSON.stringify(options));
  };
  const assertExact = async (realm = host.names.realm): Promise<void> =>
    assert.deepEqual(await host.held(), expected(await fromDockerd(dockerd).running(), { ...host.names, realm }));

  test('a start returns once what runs is published, by a user who may nothing else', async () => {
    await systemd.shell(lines.at(-1)?.replace(/^sudo /, '') ?? '');
    await assertExact();
    assert.equal(await systemd.property('discover', 'StatusText'), '1 container published');
    const status = await systemd.shell(`cat /proc/${await systemd.property('discover', 'MainPID')}/status`);
    assert.doesNotMatch(status, /^Uid:\s+0\b/m);
    assert.match(status, /^CapEff:\s+0+$/m);
    assert.match(status, /^NoNewPrivs:\s+1$/m);
  });

  test('a reload takes the new configuration, and one that cannot be used changes nothing', async () => {
    const pid = await systemd.property('discover', 'MainPID');
    configure({ realm: 'blue' });
    await systemd.shell('systemctl reload discover');
    await eventually(() => assertExact('blue'));
    configure({ realm: 'no/realm' });
    await systemd.shell('systemctl reload discover');
    await eventually(async () =>
      assert.match(await systemd.shell('journalctl --unit discover'), /keeping the previous configuration/),
    );
    await assertExact('blue');
    configure();
    await systemd.shell('systemctl reload discover');
    await eventually(() => assertExact());
    assert.equal(await systemd.property('discover', 'MainPID'), pid);
  });

  test('one that stands still is ended and started again, and readers notice nothing', async () => {
    const folder = '/etc/systemd/system/discover.service.d';
    // In the proportion of the unit to the default TTL, for the TTL that is configured here.
    const unit = readFileSync(path.join(repository, 'deploy/discover.service'), 'utf8');
    const watchdogSeconds = (Number(/^WatchdogSec=(\d+)$/m.exec(unit)?.[1]) / 30) * ttlSeconds;
    const fast = String.raw`[Service]\nWatchdogSec=${watchdogSeconds}\nRestartSec=0\n`;
    await systemd.shell(`mkdir ${folder}; printf '${fast}' > ${folder}/fast.conf; systemctl daemon-reload`);
    await systemd.shell('systemctl restart discover');
    const { length } = await host.changesSince(0);
    assert.equal(await systemd.property('discover', 'NRestarts'), '0');
    await systemd.shell('systemctl kill --kill-whom=main --signal=STOP discover');
    await eventually(async () => assert.equal(await systemd.property('discover', 'NRestarts'), '1'), patient);
    await eventually(async () => assert.equal(await systemd.property('discover', 'ActiveState'), 'active'), patient);
    await dockerd.run({ env: { DISCOVER: 'more:80' }, ports: [80] });
    await eventually(() => assertExact());
    const changes = (await host.changesSince(0)).slice(length);
    assert.deepEqual(new Set(changes.map(({ kind }) => kind)), new Set(['put']));
    assert.equal(new Set(changes.map(({ revision }) => revision)).size, 1, 'Only the new container was news');
  });

  test('a stop ends well, and leaves the keys to a start that writes none of them again', async () => {
    const { length } = await host.changesSince(0);
    await systemd.shell('systemctl stop discover');
    assert.equal(await systemd.property('discover', 'Result'), 'success');
    assert.equal(await systemd.property('discover', 'ExecMainStatus'), '0');
    await systemd.shell('systemctl start discover');
    await assertExact();
    assert.deepEqual((await host.changesSince(0)).slice(length), []);
  });

  test('a configuration that cannot be used is said, and not tried again', async () => {
    await systemd.shell('systemctl stop discover');
    configure({ realm: 'no/realm' });
    await assert.rejects(systemd.shell('systemctl start discover'));
    assert.equal(await systemd.property('discover', 'ExecMainStatus'), '78');
    assert.equal(await systemd.property('discover', 'ActiveState'), 'failed');
    assert.match(await systemd.property('discover', 'NRestarts'), /^0$/);
    const said = /\]: discover: Cannot use the configuration[\s\S]*host\.realm .* got "no\/realm"$/m;
    await eventually(async () => assert.match(await systemd.shell('journalctl --unit discover'), said));
  });
});
