/** Whether another process is gone, as far as its name proves it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ProcessIdentity } from '../../src/layout/owner.ts';
import { containerIn, livenessOf, ownIdentity } from '../../src/registry/process-identity.ts';

const id = '0123456789abcdef'.repeat(4);
const self: ProcessIdentity = { boot: 'b', pidNamespace: 'pid:[1]', pid: 7, startTicks: '70', container: 'one' };

test('a process of an earlier life of the same container is gone', () => {
  const before = { ...self, pidNamespace: 'pid:[2]', pid: 1, startTicks: '10' };
  assert.equal(livenessOf(before, self), 'gone');
});

test('nothing is known of a process of another container, of another machine or boot, or without a container', () => {
  const elsewhere = { ...self, pidNamespace: 'pid:[2]' };
  const { container: _, ...outside } = self;
  assert.equal(livenessOf({ ...elsewhere, container: 'other' }, self), 'unknown');
  assert.equal(livenessOf({ ...elsewhere, boot: 'c' }, self), 'unknown');
  assert.equal(livenessOf({ ...self, boot: 'c' }, self), 'unknown');
  assert.equal(livenessOf({ ...outside, pidNamespace: 'pid:[2]' }, self), 'unknown');
  assert.equal(livenessOf(elsewhere, outside), 'unknown');
  assert.equal(livenessOf(undefined, self), 'unknown');
});

test('in one pid namespace a process is seen: this one lives, and one that has ended is gone', async () => {
  const own = ownIdentity();
  assert.ok(own, 'This machine has no /proc');
  assert.equal(livenessOf(own), 'alive');
  assert.equal(livenessOf({ ...own, startTicks: '1' }), 'gone', 'The pid is used again');
  const child = spawn('true', { stdio: 'ignore' });
  await once(child, 'exit');
  assert.equal(livenessOf({ ...own, pid: child.pid ?? 0 }), 'gone');
  assert.equal(own.container, containerIn(readFileSync('/proc/self/mountinfo', 'utf8')));
});

test('a container is named by the files that its engine mounts into it, and by its root', () => {
  const named = (file: string, { root = 'upperdir=/a', of = 'hostname', minor = 4 } = {}) =>
    containerIn(
      `22 1 0:${minor} / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l,${root}\n` +
        `23 22 0:5 / /proc rw - proc proc rw\n30 22 0:6 ${file} /etc/${of} rw - ext4 /dev/sda rw\n`,
    );
  const docker = named(`/var/lib/docker/containers/${id}/hostname`);
  assert.match(String(docker), new RegExp(`^${id.slice(0, 12)}-[0-9a-f]{12}$`));
  // The next life has other numbers of devices.
  assert.equal(named(`/docker/containers/${id}/resolv.conf`, { of: 'resolv.conf', minor: 9 }), docker);
  assert.equal(named(`/run/containers/storage/overlay-containers/${id}/userdata/hosts`, { of: 'hosts' }), docker);
  assert.notEqual(
    named(`/var/lib/docker/containers/${id}/hostname`, { root: 'upperdir=/b' }),
    docker,
    'Another one on its network',
  );
  // On the host itself there are mounts with ids as well.
  assert.equal(named(`/var/lib/docker/containers/${id}/mounts/shm`), undefined);
  assert.equal(named(`/var/lib/containers/storage/overlay-containers/${id}/userdata/shm`), undefined);
  assert.equal(named(`/etc/${id}/hostname`, { of: 'other' }), undefined);
});
