/**
 * The package for Debian under a real systemd: the service starts, is upgraded and is removed with it.
 *
 *     npm run build && node --import ./test/loader.mjs --test test/integration/packages-systemd.slow.ts
 *
 * What the unit itself does is in `systemd.slow.ts`. It needs root and systemd-nspawn, which is in Debian's systemd-container.
 */
import assert from 'node:assert/strict';
import { chownSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, type Host, startHost } from '../helpers/host.ts';
import { makePackages } from '../helpers/packages.ts';
import { needs } from '../helpers/run.ts';
import { type Systemd, startSystemd } from '../helpers/systemd.ts';

const programs = [
  'dockerd',
  'docker',
  'busybox',
  'etcd',
  'etcdctl',
  'npm',
  'dpkg-deb',
  'systemd-nspawn',
  'nsenter',
  'root',
];
const patient = { timeoutMs: 60_000 };

describe('the package for Debian under systemd (real systemd, dockerd and etcd)', { skip: needs(...programs) }, () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dsc-packages-'));
  let dockerd: Dockerd;
  let host: Host;
  let systemd: Systemd;
  before(async () => {
    dockerd = await startDockerd();
    await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
    host = await startHost({ source: fromDockerd(dockerd), idle: true });
    systemd = await startSystemd([`${dockerd.socketPath}:/run/docker.sock`]);
    // A container may forbid packages to start services.
    rmSync(path.join(systemd.root, 'usr/sbin/policy-rc.d'), { force: true });
    const group = /^docker:[^:]*:(\d+):/m.exec(readFileSync('/etc/group', 'utf8'))?.[1];
    chownSync(dockerd.socketPath, 0, Number(group));
    for (const version of ['1.0.0', '1.0.1']) {
      const { deb } = await makePackages(path.join(folder, version), '--fast', '--version', version);
      copyFileSync(deb, path.join(systemd.root, 'root', `${version}.deb`));
    }
  });
  after(async () => {
    await systemd?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
    await dockerd?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const property = (name: string): Promise<string> => systemd.property('discover', name);

  test('is installed with a service that is enabled and waits for its configuration', async () => {
    const said = await systemd.shell('dpkg -i /root/1.0.0.deb 2>&1');
    assert.match(said, /then start the service: systemctl start discover$/m);
    assert.doesNotMatch(said, /did not start/);
    assert.equal(await systemd.shell('systemctl is-enabled discover'), 'enabled');
    assert.deepEqual([await property('ActiveState'), await property('Result')], ['inactive', 'success']);
  });

  test('runs as its own user once it is configured, and publishes', async () => {
    const { id, ip, realm } = host.names;
    const place = `--etcd:ttl 600 --etcd:endpoints ${host.etcd.endpoints[0]} --host:id ${id} --host:ip ${ip} --host:realm ${realm}`;
    await systemd.shell(`discover init --yes ${place} || true`);
    await systemd.shell('systemctl start discover');
    await eventually(() => host.assertExact(), patient);
    const status = await systemd.shell(`cat /proc/${await property('MainPID')}/status`);
    const user = await systemd.shell('id -u discover');
    assert.match(status, new RegExp(`^Uid:\\t${user}\\t`, 'm'));
  });

  test('is upgraded with a restart that readers do not notice', async () => {
    const pid = await property('MainPID');
    const mark = await host.mark();
    await systemd.shell('dpkg -i /root/1.0.1.deb');
    assert.equal(await property('ActiveState'), 'active');
    assert.notEqual(await property('MainPID'), pid);
    assert.deepEqual(await host.changesSince(mark), []);
    await host.assertExact();
  });

  test('is removed with its service, and purged with its configuration; the keys stay until their lease ends', async () => {
    const keys = await host.held();
    const said = await systemd.shell('dpkg --purge docker-discover 2>&1');
    assert.match(said, /the keys of this host end with their lease/);
    assert.equal(await property('ActiveState'), 'inactive');
    assert.equal(await property('LoadState'), 'not-found');
    assert.deepEqual(await host.held(), keys);
    assert.ok(!existsSync(path.join(systemd.root, 'etc/discover')));
  });
});
