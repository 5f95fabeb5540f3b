/** When a container deserves traffic: its health, and the time between being asked to stop and its end. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, type Host, removeAll, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';
import { describeStops, drainingServer, stopUnderLoad } from '../helpers/stops.ts';

const stopSeconds = 5;
const term = ['--stop-signal', 'TERM'];
/** A health check is run by a shell, which the image does not have. */
const withShell = (command: string): readonly string[] => [
  'sh',
  '-c',
  `ln -sf /bin/busybox /bin/sh; ${command}; exec sleep 1000000`,
];
const healthCheck = (command: string, interval = '200ms'): readonly string[] => [
  ...['--health-cmd', `/bin/${command}`, '--health-interval', interval, '--health-retries', '1'],
  ...['--health-start-period', '1s'],
];

describe('traffic', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
  });
  beforeEach(() => removeAll(dockerd));
  after(() => dockerd.close());

  const start = (args: readonly string[] = []): Promise<Host> => startHost({ source: fromDockerd(dockerd), args });
  // A neighbour of the host has a service called web.
  const keyOf = (id: string): string => `/discover/service/shop/default/h1/${id.slice(0, 12)}`;
  const isHeld = async (host: Host, id: string): Promise<boolean> => (await host.held()).has(keyOf(id));
  const published = (host: Host, id: string, wanted = true) =>
    eventually(async () => assert.equal(await isHeld(host, id), wanted), { everyMs: 5 });
  const web = { env: { DISCOVER: 'shop:80' }, ports: [80] };
  test('a container is withdrawn while its health check fails, and published again when it succeeds (real dockerd, real etcd)', async () => {
    await using host = await start();
    const options = { ...web, args: healthCheck('busybox test -e /ok') };
    const id = await dockerd.run({ ...options, command: withShell('touch /ok') });
    await published(host, id);
    await dockerd.docker('exec', id, '/bin/busybox', 'rm', '/ok');
    await published(host, id, false);
    assert.equal((await dockerd.inspect(id)).State.Running, true);
    await dockerd.docker('exec', id, '/bin/busybox', 'touch', '/ok');
    await published(host, id);
    // A label of its own: whatever its check says.
    const labels = { 'discover.health': 'ignore' };
    const sick = await dockerd.run({ ...options, labels, command: withShell('true') });
    await published(host, sick);
    await eventually(async () => assert.match(await dockerd.docker('ps', '--format', '{{.Status}}'), /\(unhealthy\)/));
    assert.equal(await isHeld(host, sick), true);
  });

  test('a container is withdrawn when it is asked to stop, and not for another signal (real dockerd, real etcd)', async () => {
    await using host = await start();
    const id = await dockerd.run({ ...web, args: term, command: drainingServer(3) });
    await published(host, id);
    const count = await host.mark();
    await dockerd.docker('kill', '--signal', 'HUP', id);
    await dockerd.docker('exec', id, '/bin/busybox', 'true');
    const stopped = dockerd.docker('stop', id);
    await published(host, id, false);
    assert.equal((await dockerd.inspect(id)).State.Running, true, 'it still serves');
    await stopped;
    const changes = await host.changesSince(count);
    assert.deepEqual([...new Set(changes.map(({ kind }) => kind))], ['delete'], 'the other signal has changed nothing');
    assert.equal(new Set(changes.map(({ revision }) => revision)).size, 1);
    // A restart is a withdrawal, and the new address as soon as there is one.
    await dockerd.docker('start', id);
    await published(host, id);
    const before = await host.mark();
    await dockerd.docker('restart', '--time', '1', id);
    await host.converged();
    const restart = (await host.changesSince(before)).filter(({ key }) => key === keyOf(id));
    assert.deepEqual(
      restart.map(({ kind }) => kind),
      ['delete', 'put'],
    );
  });

  testInFull(
    'a container that ignores its stop signal is published again, once (real dockerd, real etcd)',
    async () => {
      await using host = await start();
      const image = await dockerd.image();
      const id = await dockerd.run({ ...web, image, args: [...term, '--stop-timeout', '1'] });
      await published(host, id);
      const count = await host.mark();
      const flood = async () => {
        for (let n = 0; n < 20; n++) await dockerd.ask('POST', `/containers/${id}/kill?signal=TERM`);
      };
      await flood();
      await published(host, id, false);
      await published(host, id);
      await flood();
      await dockerd.docker('rename', id, 'seen');
      const other = await dockerd.run(web);
      await published(host, other);
      const own = (await host.changesSince(count)).filter(({ key }) => key === keyOf(id));
      assert.deepEqual(
        own.map(({ kind }) => kind),
        ['delete', 'put'],
      );
      await host.terminate();
      assert.match(host.discover.output, /"reason":"ignores-stop"/);
    },
  );

  test('no request fails while servers are stopped one after the other (real dockerd, real etcd, client)', async (context) => {
    // A server listens a moment after its start.
    await using host = await start(['--publish:health', 'require-healthy']);
    // Each check starts a process in the container: more of them would be most of the machine's work.
    const args = [...term, ...healthCheck('busybox wget -q -O /dev/null http://127.0.0.1/', amount('200ms', '1s'))];
    const options = { ...web, args, command: drainingServer(stopSeconds) };
    const ids = [await dockerd.run(options), await dockerd.run(options)] as const;
    for (const id of ids) await published(host, id);
    const stops = { service: 'shop', ids, serveSeconds: stopSeconds, events: ['kill'] };
    const stopped = await stopUnderLoad(dockerd, host, { ...stops, count: amount(3, 200) });
    context.diagnostic(describeStops(stopped));
    assert.deepEqual(stopped.failures, []);
    assert.ok(stopped.answers > 100, describeStops(stopped));
  });
});
