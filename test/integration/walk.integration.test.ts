/**
 * The walk: one container from start to end, and what a consumer sees of it. Then what containers
 * can be like: on which port, which network, under which name; and what discover asks of Docker.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, type Host, removeAll, revisionsOf, startHost } from '../helpers/host.ts';
import { startProxy } from '../helpers/proxy.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

describe('walk', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
  });
  beforeEach(() => removeAll(dockerd));
  after(() => dockerd.close());

  const startRealHost = (args: readonly string[] = []): Promise<Host> =>
    startHost({ source: fromDockerd(dockerd), args });

  for (const workers of amount(['1'], ['0', '1', '4'])) {
    test(`a container of an image with DISCOVER is published while it runs, with ${workers} workers (real dockerd, real etcd)`, async () => {
      await using host = await startRealHost(['--workers', workers]);
      const image = await dockerd.image(['ENV DISCOVER static-web-server:8080']);
      const id = await dockerd.run({ image, ports: [8080] });
      const shortId = id.slice(0, 12);
      await host.converged();

      const key = `/discover/service/static-web-server/default/h1/${shortId}`;
      const url = `tcp://10.0.0.5:${await dockerd.hostPort(id, '8080/tcp')}`;
      // What is in the README: no tool but etcdctl, and no knowledge but the prefix.
      const listed = await host.etcd.ctl('get', '--prefix', '/discover/service/static-web-server/');
      assert.equal(listed, `${key}\n${url}\n`);
      const record = await host.etcd.ctl('get', '--print-value-only', `/discover/host/h1/${shortId}`);
      assert.deepEqual(JSON.parse(record), { 'static-web-server': key });

      await dockerd.docker('stop', id);
      await host.converged();
      assert.equal((await host.held()).size, 0);
      const changes = await host.changesSince(0);
      assert.deepEqual(
        changes.map(({ kind }) => kind),
        ['put', 'put', 'delete', 'delete'],
      );
      const [appeared, vanished, ...more] = revisionsOf(changes);
      assert.ok(appeared !== undefined && vanished !== undefined && more.length === 0);

      await dockerd.docker('start', id);
      await host.converged();
      assert.equal((await host.held()).size, 2);
    });
  }

  test('each way to publish a port gives the address that reaches it (real dockerd, real etcd)', async () => {
    await using host = await startRealHost();
    await dockerd.docker('network', 'create', 'inner');
    const env = { DISCOVER: 'web:80,dns:53/tcp,dns:53/udp,metrics:9100,nowhere:81' };
    const ports = [80, '53/tcp', '53/udp', `${dockerd.gateway}::9100`];
    const bridged = await dockerd.run({ env, ports, network: 'inner' });
    const local = await dockerd.run({ env: { DISCOVER: 'local:80' }, ports: ['127.0.0.1::80'] });
    const onHost = await dockerd.run({ env: { DISCOVER: 'web:8080,dns:53/udp' }, network: 'host' });
    const nowhere = await dockerd.run({ env: { DISCOVER: 'web:80' }, network: 'none' });
    const silent = await dockerd.run({ ports: [80] });
    await host.converged();

    const held = await host.held();
    const of = (id: string): string[] => [...held.keys()].filter((key) => key.includes(id.slice(0, 12)));
    const at = (name: string, id: string): unknown =>
      held.get(`/discover/service/${name}/default/h1/${id.slice(0, 12)}`);
    assert.equal(at('metrics', bridged), `tcp://${dockerd.gateway}:${await dockerd.hostPort(bridged, '9100/tcp')}`);
    assert.equal(at('web', onHost), 'tcp://10.0.0.5:8080');
    assert.equal(of(bridged).length, 5);
    const udp = `/discover/service/dns/default/h1/${bridged.slice(0, 12)}:53:udp`;
    assert.equal(held.get(udp), `udp://10.0.0.5:${await dockerd.hostPort(bridged, '53/udp')}`);
    for (const id of [local, nowhere, silent]) assert.deepEqual(of(id), []);
    const refused = host.discover.logs.filter((line) => line.msg === 'advertisement refused');
    assert.deepEqual(
      new Set(refused.map(({ container, reason }) => `${container} ${reason}`)),
      new Set(
        [
          [bridged, 'not-published'],
          [nowhere, 'no-network'],
          [local, 'loopback'],
        ].map(([id = '', reason]) => `${id.slice(0, 12)} ${reason}`),
      ),
    );
  });

  test('keys follow a restart, a rename, a pause and a change of network (real dockerd, real etcd)', async () => {
    await using host = await startRealHost();
    const id = await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
    await host.converged();
    let before = [...(await host.held())];
    const port = await dockerd.hostPort(id, '80/tcp');
    await dockerd.docker('restart', id);
    assert.notEqual(await dockerd.hostPort(id, '80/tcp'), port);
    await host.converged();
    assert.notDeepEqual([...(await host.held())], before);

    before = [...(await host.held())];
    const count = await host.mark();
    await dockerd.docker('rename', id, 'renamed');
    await dockerd.docker('pause', id);
    await dockerd.docker('unpause', id);
    const other = await dockerd.run({ env: { DISCOVER: 'other:80' }, ports: [80] });
    await host.converged(); // by now it has seen the rename, too, which came before
    const touched = (await host.changesSince(count)).filter(({ key }) => !key.includes(other.slice(0, 12)));
    assert.deepEqual(touched, []);

    await dockerd.docker('network', 'disconnect', 'bridge', id);
    await host.converged();
    assert.equal((await host.held()).size, 2, 'Only the other container has a port now');
    await dockerd.docker('network', 'connect', 'bridge', id);
    await host.converged();
    assert.equal((await host.held()).size, 4);
  });

  test('Docker is asked by GET for five paths only, over a full life with a restart (real dockerd behind a proxy, real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-walk-'));
    try {
      const socketPath = path.join(directory, 's');
      await using proxy = await startProxy({ to: dockerd.socketPath, listen: socketPath });
      await using host = await startHost({ source: fromDockerd(dockerd), socketPath, args: ['--resync', '1'] });
      const ids = await Promise.all(
        [80, 81, 82].map((port) => dockerd.run({ env: { DISCOVER: `web:${port}` }, ports: [port] })),
      );
      await host.converged();
      await dockerd.docker('restart', ...ids.slice(0, 2));
      await dockerd.docker('network', 'disconnect', 'bridge', ids[2] ?? '');
      await dockerd.docker('rename', ids[0] ?? '', 'renamed');
      await host.converged();
      assert.deepEqual(await host.terminate(), { code: 0, signal: null });
      await dockerd.docker('network', 'connect', 'bridge', ids[2] ?? '');
      await host.launch();
      proxy.cut();
      await dockerd.docker('rm', '--force', ids[0] ?? '');
      await host.converged();
      const lists = (): number => proxy.log.filter((seen) => seen.path.includes('/containers/json?')).length;
      const before = lists();
      await eventually(() => assert.ok(lists() > before + 1, 'No resync yet'));

      const version = '(/v1\\.\\d+)';
      const allowed = [
        `^${version}?/_ping$`,
        `^${version}?/version$`,
        `^${version}/events\\?[^/]*$`,
        `^${version}/containers/json\\?filters=[\\w%]+$`,
        `^${version}/containers/[0-9a-f]{64}/json$`,
      ].map((pattern) => new RegExp(pattern));
      const seen = proxy.log.map((request) => `${request.method} ${request.path}`);
      assert.deepEqual(
        seen.filter((line) => !line.startsWith('GET ')),
        [],
      );
      const text = readFileSync(new URL('../../.github/SECURITY.md', import.meta.url), 'utf8');
      const rule = new RegExp(/^ {4}(\^.*\$)$/m.exec(text)?.[1] ?? 'There is no rule');
      for (const request of proxy.log) assert.match(request.path.split('?', 1)[0] ?? '', rule);
      for (const pattern of allowed) {
        assert.ok(
          proxy.log.some((request) => pattern.test(request.path)),
          `Nobody asked for ${pattern}`,
        );
      }
      const others = proxy.log.filter((request) => !allowed.some((pattern) => pattern.test(request.path)));
      assert.deepEqual(
        others.map((request) => request.path),
        [],
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('nothing that a container says reaches a key outside its own (real dockerd, real etcd)', async () => {
    await using host = await startRealHost();
    const victim = await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-walk-'));
    try {
      // 1 MiB in all. The kernel gives one variable 128 KiB and docker a line of a file 64 KiB, so it is many.
      const many = Array.from({ length: 18 }, (_, part) =>
        Array.from({ length: 3000 }, (_, index) => `s-${part}-${String(index).padStart(10, '0')}:80`).join(','),
      );
      const file = path.join(directory, 'env');
      writeFileSync(file, many.map((value) => `DISCOVER=${value}`).join('\n'));
      const hostile = [
        'web/default/otherhost/0123456789ab:80',
        '../../host/h1:80,..:80,.:80,:80,/:80,%2e%2e%2f:80',
        '__proto__:80,constructor:80,toString:80,hasOwnProperty:80',
        `${'x'.repeat(129)}:80,${'y'.repeat(128)}:80`,
        'web:80\nDISCOVER=other:80',
        'a\u001b[2J:80,b\u202ec:80,d\u2028:80,е:80,f g:80, good:80 ',
        'web:0,web:65536,web:-1,web:080,web:1e3,web:80/gopher,web,web:,:',
        `web:80,owner:80,host:80,service:80,discover:80,h1:80,${victim.slice(0, 12)}:80`,
      ];
      await Promise.all(hostile.map((text) => dockerd.run({ env: { DISCOVER: text }, ports: [80] })));
      const names = [victim.slice(0, 12), 'h1', 'owner'];
      // Named as the victim's keys end: an engine asked for that name gives this one.
      await Promise.all(names.map((name) => dockerd.run({ name, env: { DISCOVER: 'named:80' }, ports: [80] })));
      const large = await dockerd.run({ args: ['--env-file', file], ports: [80] });
      await dockerd.run({
        env: ['DISCOVER=twice:80', 'DISCOVER=again:80', 'DISCOVER'],
        ports: [80],
        network: 'bridge',
      });
      await host.converged();

      const held = await host.held();
      const prototype = [...held.entries()].find(([key]) => key.startsWith('/discover/service/__proto__/'));
      assert.ok(prototype, 'A service may be called __proto__');
      const shortId = prototype[0].slice(-12);
      const record = await host.etcd.ctl('get', '--print-value-only', `/discover/host/h1/${shortId}`);
      assert.match(record, /"__proto__":"\/discover\/service\/__proto__\//);
      const ofLarge = [...held.keys()].filter((key) => key.includes(large.slice(0, 12)));
      assert.equal(ofLarge.length, 101, 'The first hundred, and the record');
      await removeAll(dockerd);
      await host.converged();
      assert.equal((await host.held()).size, 0);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
