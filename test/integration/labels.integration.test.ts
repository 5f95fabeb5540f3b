/** A container of an image that says nothing, published by its labels alone, and one that its labels keep out. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { DiscoverClient, type Instance } from '../../src/client/index.ts';
import { runCommand } from '../helpers/command.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { connectionOf, freePort, fromDockerd, type Host, removeAll, revisionsOf, startHost } from '../helpers/host.ts';
import { type LogLine, needs } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

describe('labels', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
  });
  beforeEach(() => removeAll(dockerd));
  after(() => dockerd.close());

  const args = ['--host:realms', 'default,blue'];
  const start = (more: readonly string[] = []): Promise<Host> =>
    startHost({ source: fromDockerd(dockerd), args: [...args, ...more] });
  const wanted = async (host: Host, keys: readonly string[]): Promise<void> =>
    eventually(async () =>
      assert.deepEqual(
        [...(await host.held()).keys()].filter((key) => key.startsWith('/discover/service/')).sort(),
        [...keys].sort(),
      ),
    );
  const keyOf = (name: string, id: string, realm = 'default'): string =>
    `/discover/service/${name}/${realm}/h1/${id.slice(0, 12)}`;

  const commandArgs = (host: Host): string[] => [...connectionOf(host, dockerd), ...args];

  test('publish a container of an image that says nothing, at one revision, and take it away at one (real dockerd, real etcd)', async () => {
    await using host = await start(['--views:skydns', 'discover.local', '--views:registrator', '/services']);
    const count = await host.mark();
    const id = await dockerd.run({ labels: { discover: 'web:80, dns:53/udp' }, ports: [80, '53/udp'] });
    await wanted(host, [keyOf('web', id), keyOf('dns', id)]);
    await dockerd.docker('rm', '--force', id);
    await wanted(host, []);
    const changes = await host.changesSince(count);
    assert.equal(revisionsOf(changes).length, 2);
    assert.equal(changes.filter(({ kind }) => kind === 'put').length, changes.length / 2);
  });

  test('give a service attributes, which are beside its key and in each view at one revision, and reach every reader (real dockerd, real etcd)', async () => {
    const views = ['--views:skydns', 'discover.local', '--views:grpc', 'grpc', '--views:traefik', 'traefik'];
    const port = await freePort();
    await using host = await start([...views, '--host:zone', 'rack-1', '--http:listen', `127.0.0.1:${port}`]);
    await using client = new DiscoverClient({ endpoints: [host.etcd.endpoint] });
    const isOurs = (one: Instance): boolean => one.host === 'h1';
    const listed = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/v1/services/web`);
      return ((await response.json()) as { instances: Instance[] }).instances.filter(isOurs);
    };
    const resolved = async () => (await client.resolve('web')).filter(isOurs);
    const labels = { discover: 'web:80', 'discover.web.weight': '3', 'discover.web.version': '2' };
    const id = await dockerd.run({ labels, ports: [80], name: 'shop-1' });
    await wanted(host, [keyOf('web', id)]);
    const all = await host.etcd.entries('');
    const of = (prefix: string) => all.filter(({ key }) => key.startsWith(prefix) && !key.includes('h1x'));
    const [native] = of(keyOf('web', id));
    assert.equal(native?.value, `tcp://10.0.0.5:${await dockerd.hostPort(id, '80/tcp')}`);
    const [meta] = of('/discover/meta/');
    assert.equal(meta?.key, keyOf('web', id).replace('/service/', '/meta/'));
    const said = {
      ...{ privatePort: 80, weight: 3, attributes: { version: '2' }, zone: 'rack-1', container: 'shop-1' },
      image: await dockerd.image(),
    };
    assert.deepEqual(JSON.parse(meta?.value ?? ''), said);
    const [skydns] = of('/skydns/');
    assert.equal((JSON.parse(skydns?.value ?? '') as { weight: number }).weight, 3);
    const [grpc] = of('grpc/');
    assert.deepEqual(JSON.parse((JSON.parse(grpc?.value ?? '') as { Metadata: string }).Metadata), said);
    assert.deepEqual(
      of('traefik/')
        .map(({ value }) => value)
        .sort(),
      ['3', `http://10.0.0.5:${native?.value.split(':').at(-1)}`],
    );
    const written = [native, meta, ...of('/skydns/'), grpc, ...of('traefik/')];
    assert.equal(new Set(written.map((entry) => entry?.modRevision)).size, 1, 'one revision');
    assert.equal(new Set(written.map((entry) => entry?.lease)).size, 1, 'one lease');

    const [instance] = await eventually(async () => {
      const found = await resolved();
      assert.equal(found.length, 1, 'Not yet');
      return found;
    });
    assert.ok(instance);
    const { attributes, container, image, privatePort, weight, zone } = instance;
    assert.deepEqual({ attributes, container, image, privatePort, weight, zone }, said);
    await eventually(async () => assert.deepEqual(await listed(), [instance]));

    // A rename changes the meta and leaves the native key alone.
    await dockerd.docker('rename', id, 'shop-2');
    await eventually(async () => {
      const [renamed] = await host.etcd.entries('/discover/meta/');
      assert.equal((JSON.parse(renamed?.value ?? '') as { container: string }).container, 'shop-2');
    });
    await eventually(async () => {
      assert.equal((await resolved())[0]?.container, 'shop-2');
      assert.equal((await listed())[0]?.container, 'shop-2');
    });
    assert.equal((await host.etcd.entries(keyOf('web', id)))[0]?.modRevision, native?.modRevision);

    // The next process finds all of it, and a container that ended meanwhile leaves none of it.
    host.discover.signal('SIGKILL');
    await host.discover.exit;
    await dockerd.docker('rm', '--force', id);
    await host.launch();
    await eventually(async () => {
      const left = (await host.etcd.entries('')).filter(({ key }) => !/owner|x\//.test(key));
      assert.deepEqual(
        left.map(({ key }) => key),
        [],
      );
    });
    await eventually(async () => assert.deepEqual([await resolved(), await listed()], [[], []]));
  });

  testInFull(
    'take the place of the variable, silence a container, and come with a new container (real dockerd, real etcd)',
    async () => {
      await using host = await start();
      const image = await dockerd.image(['ENV DISCOVER=web:80']);
      const plain = await dockerd.run({ image, ports: [80] });
      const other = await dockerd.run({ image, ports: [80], labels: { discover: 'api:80' }, name: 'other' });
      await dockerd.run({ image, ports: [80], labels: { discover: '' } });
      await dockerd.run({ image, ports: [80], env: { DISCOVER: '' } });
      const off = await dockerd.run({ image, ports: [80], labels: { 'discover.enable': 'false' } });
      await wanted(host, [keyOf('web', plain), keyOf('api', other)]);
      const refused = await host.discover.waitForLog(({ msg }) => msg === 'advertisement refused');
      assert.deepEqual([refused.container, refused.reason], [off.slice(0, 12), 'disabled']);

      // A label changes with a new container of the same name.
      await dockerd.docker('rm', '--force', other);
      const anew = await dockerd.run({ image, ports: [80], labels: { discover: 'api2:80' }, name: 'other' });
      await wanted(host, [keyOf('web', plain), keyOf('api2', anew)]);
    },
  );

  test('name a realm that the host allows, over a restart of discover, and no other (real dockerd, real etcd)', async () => {
    await using host = await start();
    const web = { env: { DISCOVER: 'web:80' }, ports: [80] };
    const blue = await dockerd.run({ ...web, labels: { 'discover.realm': 'blue' } });
    const red = await dockerd.run({ ...web, labels: { 'discover.realm': 'red' } });
    const plain = await dockerd.run(web);
    await wanted(host, [keyOf('web', blue, 'blue'), keyOf('web', plain)]);
    const refused = await host.discover.waitForLog(({ msg }) => msg === 'advertisement refused');
    assert.deepEqual([refused.container, refused.reason], [red.slice(0, 12), 'realm-not-allowed']);

    const count = await host.mark();
    host.discover.signal('SIGKILL');
    await host.discover.exit;
    await host.launch();
    const after = await dockerd.run(web);
    await wanted(host, [keyOf('web', blue, 'blue'), keyOf('web', plain), keyOf('web', after)]);
    const touched = (await host.changesSince(count)).filter(({ key }) => !key.includes(after.slice(0, 12)));
    assert.deepEqual(touched, [], 'The keys of before were touched');

    const verified = await runCommand(['verify', ...commandArgs(host)]);
    assert.equal(verified.code, 0, verified.out + verified.err);

    // A key that lost its lease is found by the record of its container, also in another realm.
    host.discover.signal('SIGKILL');
    await host.discover.exit;
    await host.etcd.ctl('put', keyOf('web', blue, 'blue'), 'tcp://192.0.2.1:1');
    await dockerd.docker('rm', '--force', blue);
    await host.launch();
    await wanted(host, [keyOf('web', plain), keyOf('web', after)]);
  });

  testInFull(
    'register each published port as registrator does, except for the id (real dockerd, real etcd)',
    async () => {
      const sources = ['--discover:sources', 'variable,label,registrator', '--views:registrator', '/services'];
      await using host = await start(sources);
      const image = await dockerd.image();
      const id = await dockerd.run({
        env: ['SERVICE_80_NAME=web', 'SERVICE_TAGS=a,b', 'SERVICE_443_IGNORE=1'],
        labels: { SERVICE_VERSION: '2' },
        ports: [80, 81, 443],
      });
      const name = image.split(':', 1)[0] ?? '';
      await wanted(host, [keyOf('web', id), keyOf(`${name}-81`, id)]);
      const shortId = id.slice(0, 12);
      assert.deepEqual(
        [...(await host.etcd.get('/services/'))],
        [
          [`/services/${name}-81/h1:${shortId}:81`, `10.0.0.5:${await dockerd.hostPort(id, '81/tcp')}`],
          [`/services/web/h1:${shortId}:80`, `10.0.0.5:${await dockerd.hostPort(id, '80/tcp')}`],
        ],
      );
      const meta = (await host.etcd.get('/discover/meta/web/')).get(keyOf('web', id).replace('/service/', '/meta/'));
      assert.deepEqual(JSON.parse(meta ?? '{}'), {
        ...{ privatePort: 80, tags: ['a', 'b'], attributes: { version: '2' } },
        ...{ container: (await dockerd.docker('inspect', '--format={{.Name}}', id)).slice(1), image },
      });
      const why = await runCommand(['why', shortId, ...commandArgs(host), ...sources]);
      assert.match(why.out, /named by SERVICE_80_NAME/);
      await dockerd.docker('rm', '--force', id);
      await wanted(host, []);
      assert.equal((await host.etcd.get('/services/')).size, 0);
    },
  );

  testInFull(
    'of compose, the name and the image are in the log, in why and in the status, and a rename is followed (real dockerd, real etcd)',
    async () => {
      const port = await freePort();
      const custom = [
        '--views:custom',
        'tcp: /c/{{id}}-{{privatePort}} = {{container}} at {{zone}}',
        '--host:zone',
        'rack-1',
      ];
      await using host = await start(['--http:listen', String(port), ...custom]);
      const viewed = async (): Promise<string[]> => [...(await host.etcd.get('/c/')).values()];
      const compose = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web\u001b[2J\n' };
      const labels = { ...compose, discover: 'web:80,no:81' };
      const id = await dockerd.run({ labels, ports: [80], name: 'shop-web-1' });
      const image = await dockerd.image();
      const called = { image, compose: { project: 'shop', service: 'web\ufffd[2J\ufffd' } };
      const about = ({ container, name, image, compose }: LogLine) => ({ container, name, image, compose });
      const shortId = id.slice(0, 12);
      for (const said of ['published', 'advertisement refused']) {
        const line = await host.discover.waitForLog(({ msg }) => msg === said);
        assert.deepEqual(about(line), { container: shortId, name: 'shop-web-1', ...called });
      }
      const status = async () => {
        const answer = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as { containers: LogLine[] };
        return answer.containers.map(({ id, name, image, compose }) => ({ id, name, image, compose }));
      };
      assert.deepEqual(await status(), [{ id: shortId, name: 'shop-web-1', ...called }]);
      const why = await runCommand(['why', shortId, ...commandArgs(host), '-o', 'json']);
      const { name, compose: place } = JSON.parse(why.out) as LogLine;
      assert.deepEqual([name, place], ['shop-web-1', called.compose]);

      assert.deepEqual(await viewed(), ['shop-web-1 at rack-1']);
      await dockerd.docker('rename', id, 'shop-web-2');
      await eventually(async () => assert.deepEqual(await viewed(), ['shop-web-2 at rack-1']));
      await eventually(async () => assert.deepEqual(await status(), [{ id: shortId, name: 'shop-web-2', ...called }]));
      await dockerd.docker('rm', '--force', id);
      const gone = await host.discover.waitForLog(({ msg }) => msg === 'unpublished');
      assert.deepEqual(about(gone), { container: shortId, name: 'shop-web-2', ...called });
    },
  );

  test('are named by why, verify and the log (real dockerd, real etcd)', async () => {
    await using host = await start();
    const [good, typo, none] = [
      await dockerd.run({ labels: { discover: 'web:80' }, ports: [80] }),
      await dockerd.run({ labels: { discover: 'web:80', 'discover.enabel': 'true' }, ports: [80] }),
      await dockerd.run({ labels: { discover: '' }, env: { DISCOVER: 'web:80' }, ports: [80] }),
    ];
    await wanted(host, [keyOf('web', good), keyOf('web', typo)]);
    const connection = commandArgs(host);
    const why = async (id: string): Promise<string> => (await runCommand(['why', id.slice(0, 12), ...connection])).out;
    assert.match(await why(good), /yes +label: discover=web:80/);
    assert.match(await why(typo), /discover\.enabel.*Did you mean discover\.enable\?/s);
    assert.match(await why(none), /label: the label discover is empty/);
    assert.equal((await runCommand(['verify', ...connection])).code, 0);
  });
});
