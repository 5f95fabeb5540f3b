/** The client for programs that look services up, against an etcd that is well. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DiscoverClient, type Instance } from '../../src/client/index.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually, guardMs } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { keyOf, observe, startWriter, type Writer } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';

const run = promisify(execFile);
const urlsOf = (instances: readonly Instance[]): string[] => instances.map(({ url }) => url).sort();

/** Watches that etcd has. */
async function watchesOf(etcd: EtcdServer): Promise<number> {
  const text = await (await fetch(`${etcd.endpoint}/metrics`)).text();
  return Number(/^etcd_debugging_mvcc_watcher_total (\d+)$/m.exec(text)?.[1]);
}

describe('client', { skip: needs('etcd', 'etcdctl') }, () => {
  let etcd: EtcdServer;
  let writer: Writer;
  before(async () => {
    etcd = await startEtcd();
    writer = startWriter(etcd.endpoint);
  });
  after(async () => {
    await writer[Symbol.asyncDispose]();
    await etcd.close();
  });
  const connect = (): DiscoverClient => new DiscoverClient({ endpoints: etcd.endpoints });
  const put = (...entries: readonly (readonly [string, string | undefined])[]) => writer.write(new Map(entries));

  test('resolve answers with all instances, or those of a realm and protocol (real etcd)', async () => {
    await put(
      [keyOf('web', 1), 'tcp://10.0.0.1:80'],
      [`${keyOf('web', 1)}:8125:udp`, 'udp://10.0.0.1:81'],
      [keyOf('web', 2, { realm: 'blue' }), 'tcp://[2001:db8::2]:80'],
      [keyOf('web-2', 3), 'tcp://10.0.0.3:80'],
    );
    await using client = connect();
    const ask = async (selector?: object) => urlsOf(await client.resolve('web', selector));
    assert.deepEqual(await ask({ realm: 'default', protocol: 'udp' }), ['udp://10.0.0.1:81']);
    assert.deepEqual(await ask(), ['tcp://10.0.0.1:80', 'tcp://[2001:db8::2]:80', 'udp://10.0.0.1:81']);
    assert.deepEqual(await ask({ realm: 'blue' }), ['tcp://[2001:db8::2]:80']);
    assert.deepEqual(await ask({ realm: 'blu' }), []);
    assert.deepEqual(await client.resolve('none'), []);
    assert.deepEqual(Object.fromEntries(await client.services()), { web: 3, 'web-2': 1 });
    assert.deepEqual(Object.fromEntries(await client.services({ realm: 'blue' })), { web: 1 });
  });

  test('what is no instance is passed over and counted for as long as it is there (real etcd)', async () => {
    await put([keyOf('odd', 1), 'tcp://10.0.0.1:80'], [keyOf('odd', 2), 'nonsense'], ['/discover/service/odd/x', 'x']);
    await using client = connect();
    const instances = await client.resolve('odd');
    assert.deepEqual([urlsOf(instances), client.skipped], [['tcp://10.0.0.1:80'], 2]);
    await put([keyOf('odd', 2), 'tcp://10.0.0.2:80'], ['/discover/service/odd/x', undefined]);
    await eventually(() => assert.equal(client.skipped, 0));
    assert.deepEqual(urlsOf(await client.resolve('odd')), ['tcp://10.0.0.1:80', 'tcp://10.0.0.2:80']);
  });

  test('watch gives the set and each change of it, and ends when aborted (real etcd)', async () => {
    await put([keyOf('seen', 1), 'tcp://10.0.0.1:80']);
    await using client = connect();
    const abort = new AbortController();
    const observer = observe(client, 'seen', { signal: abort.signal });
    const step = async (entries: readonly (readonly [string, string | undefined])[], ...urls: string[]) => {
      const count = observer.seen.length;
      await put(...entries);
      await eventually(() => assert.equal(observer.seen.length, count + 1));
      assert.deepEqual([...(observer.seen.at(-1)?.values() ?? [])].sort(), urls);
    };
    await eventually(() => assert.equal(observer.seen.length, 1));
    // One transaction is one change.
    const two = [keyOf('seen', 2), keyOf('seen', 3)] as const;
    await step(
      [
        [two[0], 'tcp://10.0.0.2:80'],
        [two[1], 'tcp://10.0.0.3:80'],
      ],
      ...[1, 2, 3].map((n) => `tcp://10.0.0.${n}:80`),
    );
    await step(
      [
        [two[0], 'tcp://10.0.0.9:80'],
        [two[1], undefined],
      ],
      'tcp://10.0.0.1:80',
      'tcp://10.0.0.9:80',
    );
    await step([
      [keyOf('seen', 1), undefined],
      [two[0], undefined],
    ]);
    // Neither what concerns another nor a write that changes nothing is news.
    await put([keyOf('seen-not', 1), 'tcp://10.0.0.1:80']);
    await step([[two[0], 'tcp://10.0.0.2:80']], 'tcp://10.0.0.2:80');
    await put([two[0], 'tcp://10.0.0.2:80']);
    await step([[two[1], 'tcp://10.0.0.3:80']], 'tcp://10.0.0.2:80', 'tcp://10.0.0.3:80');
    abort.abort();
    await observer.ended;
  });

  test('watch of one realm is told nothing of another, though both are followed (real etcd)', async () => {
    await using client = connect();
    await client.services();
    const observer = observe(client, 'realms', { realm: 'blue' });
    await eventually(() => assert.equal(observer.seen.length, 1));
    await put([keyOf('realms', 1), 'tcp://10.0.0.1:80']);
    await put([keyOf('realms', 2, { realm: 'blue' }), 'tcp://10.0.0.2:80']);
    await eventually(() => assert.equal(observer.seen.length, 2));
    assert.deepEqual(
      observer.seen.map((set) => [...set.values()]),
      [[], ['tcp://10.0.0.2:80']],
    );
  });

  test('who is slow gets the latest set with all that has changed, and nothing in between (real etcd)', async () => {
    await put([keyOf('slow', 0), 'tcp://10.0.0.1:1000'], [keyOf('slow', 1), 'tcp://10.0.0.1:1']);
    await using client = connect();
    const updates = client.watch('slow');
    assert.equal((await updates.next()).value?.instances.length, 2);
    for (let port = 2; port <= 50; port++) await put([keyOf('slow', port), `tcp://10.0.0.1:${port}`]);
    await put([keyOf('slow', 1), undefined], [keyOf('slow', 0), 'tcp://10.0.0.1:1001']);
    // The last transaction took instance 1 away.
    await eventually(async () =>
      assert.ok(!urlsOf(await client.resolve('slow')).includes('tcp://10.0.0.1:1'), 'Not yet'),
    );
    const { value } = await updates.next();
    assert.equal(value?.instances.length, 50);
    assert.deepEqual([value?.added.length, value?.removed.length, value?.changed.length], [49, 1, 1]);
    await updates.return();
  });

  test('pick takes turns, passes over what was reported, and finds one as long as there is any (real etcd)', async () => {
    const ports = [1, 2, 3];
    await put(...ports.map((port) => [keyOf('turns', port), `tcp://10.0.0.1:${port}`] as const));
    await using client = connect();
    const take = async (count: number): Promise<Instance[]> => {
      const picked: Instance[] = [];
      for (let n = 0; n < count; n++) picked.push((await client.pick('turns')) as Instance);
      return picked;
    };
    const counts = new Map<number, number>();
    for (const { port } of await take(30)) counts.set(port, (counts.get(port) ?? 0) + 1);
    assert.deepEqual([...counts.values()], [10, 10, 10]);
    const [failed] = await take(1);
    client.reportFailed(structuredClone(failed) as Instance);
    assert.deepEqual(
      [...new Set((await take(30)).map(({ port }) => port))].sort(),
      ports.filter((port) => port !== failed?.port),
    );
    for (const instance of await client.resolve('turns')) client.reportFailed(instance);
    assert.deepEqual([...new Set((await take(30)).map(({ port }) => port))].sort(), ports);
    assert.equal(await client.pick('nobody'), undefined);
  });

  test('watch gives an instance with its meta, each change of both once, and none by halves (real etcd)', async () => {
    const [one, two] = [keyOf('meta', 1), keyOf('meta', 2)];
    const metaOf = (key: string): string => key.replace('/service/', '/meta/');
    const weigh = (weight: number) => JSON.stringify({ weight, attributes: { version: String(weight) }, zone: 'a' });
    for (const follows of ['one name', 'everything']) {
      await put([one, undefined], [metaOf(one), undefined], [two, undefined], [metaOf(two), undefined]);
      await using client = connect();
      if (follows === 'everything') await client.services();
      const updates = client.watch('meta');
      const shown = async () => {
        const { value } = await updates.next();
        const { instances = [], added = [], removed = [], changed = [] } = value ?? {};
        const text = ({ key, port, weight }: Instance) => `${key === one ? 1 : 2}: ${port} ${weight}`;
        return [instances, added, removed, changed].map((part) => part.map(text).sort().join(', '));
      };
      assert.deepEqual(await shown(), ['', '', '', ''], follows);
      // A meta may be there without its instance.
      await put([metaOf(two), weigh(9)]);
      await put([one, 'tcp://10.0.0.1:80'], [metaOf(one), weigh(1)]);
      assert.deepEqual(await shown(), ['1: 80 1', '1: 80 1', '', '']);
      await put([metaOf(one), weigh(2)]);
      assert.deepEqual(await shown(), ['1: 80 2', '', '', '1: 80 2']);
      await put([metaOf(one), weigh(3)], [one, 'tcp://10.0.0.1:81'], [two, 'tcp://10.0.0.2:82']);
      assert.deepEqual(await shown(), ['1: 81 3, 2: 82 9', '2: 82 9', '', '1: 81 3']);
      // Neither a meta that says the same nor a broken member is a change, but a broken meta is none.
      await put([metaOf(two), `${weigh(9).slice(0, -1)},"priority":"x"}`]);
      await put([metaOf(two), 'nonsense']);
      assert.deepEqual(await shown(), ['1: 81 3, 2: 82 undefined', '', '', '2: 82 undefined']);
      await put([two, 'tcp://10.0.0.2:83'], [metaOf(two), undefined]);
      assert.deepEqual(await shown(), ['1: 81 3, 2: 83 undefined', '', '', '2: 83 undefined']);
      await put([one, undefined], [metaOf(one), undefined]);
      assert.deepEqual(await shown(), ['2: 83 undefined', '', '1: 81 3', '']);
      await put([two, 'tcp://10.0.0.2:84']);
      assert.deepEqual(await shown(), ['2: 84 undefined', '', '', '2: 84 undefined']);
      const [instance] = await client.resolve('meta');
      assert.equal(instance && 'weight' in instance, false);
      await updates.return();
    }
  });

  test('a rename and many changes at once are told with the meta of their time (real etcd)', async () => {
    const metaOf = (key: string): string => key.replace('/service/', '/meta/');
    await using client = connect();
    const broken: string[] = [];
    const abort = new AbortController();
    const follow = async (name: string): Promise<void> => {
      for await (const { instances } of client.watch(name, { signal: abort.signal })) {
        // The port is written beside the weight, and the name beside the zone.
        for (const { port, weight, zone, name: named } of instances) {
          if (port !== weight || zone !== named) broken.push(`${named} ${port} ${weight} ${zone}`);
        }
      }
    };
    const followed = Promise.all(['old', 'new'].map(follow));
    const at = (name: string, id: number, port: number) => {
      const meta = JSON.stringify({ weight: port, zone: name });
      return [[keyOf(name, id), `tcp://10.0.0.1:${port}`] as const, [metaOf(keyOf(name, id)), meta] as const];
    };
    const without = (name: string, id: number) =>
      [keyOf(name, id), metaOf(keyOf(name, id))].map((key) => [key, undefined] as const);
    const writes: Promise<void>[] = [];
    for (let port = 1; port <= 100; port++) {
      const id = port % 7;
      const [from, to] = Math.floor(port / 7) % 2 === 0 ? ['old', 'new'] : ['new', 'old'];
      writes.push(put(...without(from ?? '', id), ...at(to ?? '', id, port)));
      if (port % 10 === 0) await Promise.all(writes);
    }
    await Promise.all(writes);
    const held = await etcd.get('/discover/service/');
    const urls = (name: string) =>
      [...held]
        .filter(([key]) => key.includes(`/${name}/`))
        .map(([, url]) => url)
        .sort();
    await eventually(async () => {
      for (const name of ['old', 'new']) assert.deepEqual(urlsOf(await client.resolve(name)), urls(name));
    });
    abort.abort();
    await followed;
    assert.deepEqual(broken, []);
  });

  test('pick has 3 turns of an instance of weight 3 for each of one of weight 1, and stays near where it is told to (real etcd)', async () => {
    const place = { 1: ['h1', 'a', 3], 2: ['h2', 'a', 1], 3: ['h3', 'b', 0] } as const;
    const entries = Object.entries(place).flatMap(([id, [host, zone, weight]]) => {
      const key = keyOf('near', Number(id), { host });
      const meta = JSON.stringify({ weight, zone });
      return [[key, `tcp://10.0.0.${id}:80`] as const, [key.replace('/service/', '/meta/'), meta] as const];
    });
    await put(...entries);
    await using client = new DiscoverClient({ endpoints: etcd.endpoints, here: { host: 'h2', zone: 'a' } });
    const shares = async (prefer?: 'host' | 'zone') => {
      const counts: Record<string, number> = {};
      for (let turn = 0; turn < 400; turn++) {
        const { host = '' } = (await client.pick('near', { prefer })) ?? {};
        counts[host] = (counts[host] ?? 0) + 1;
      }
      return counts;
    };
    assert.deepEqual(await shares(), { h1: 300, h2: 100 });
    assert.deepEqual(await shares('zone'), { h1: 300, h2: 100 });
    assert.deepEqual(await shares('host'), { h2: 400 });
    for (const instance of await client.resolve('near')) if (instance.host !== 'h3') client.reportFailed(instance);
    assert.deepEqual(await shares('host'), { h3: 400 });
    await using nowhere = connect();
    await assert.rejects(nowhere.pick('near', { prefer: 'zone' }), { code: 'CONFIG_INVALID', message: /here\.zone/ });
  });

  test('however many ask, there is one stream with two watches for each name, and none after closing (real etcd)', async () => {
    await eventually(async () => assert.equal(await watchesOf(etcd), 0));
    const client = connect();
    const observers = Array.from({ length: 20 }, () => observe(client, 'web'));
    await Promise.all(Array.from({ length: 20 }, () => client.resolve('web')));
    for (let n = 0; n < 20; n++) await client.resolve('web', { realm: 'default' });
    // Of the service keys and of the meta keys.
    await eventually(async () => assert.equal(await watchesOf(etcd), 2));
    await client.resolve('web-2', { realm: 'default' });
    await eventually(async () => assert.equal(await watchesOf(etcd), 4));
    await client.close();
    for (const { ended } of observers) await ended;
    await eventually(async () => assert.equal(await watchesOf(etcd), 0));
    await assert.rejects(client.resolve('web'), { code: 'CLIENT_CLOSED' });
    assert.throws(() => client.watch('web'), { code: 'CLIENT_CLOSED' });
    await client.close();
  });

  test('what nobody has asked for in ten minutes is not followed any more, until somebody asks (real etcd)', async (t) => {
    await eventually(async () => assert.equal(await watchesOf(etcd), 0));
    t.mock.timers.enable({ apis: ['setInterval'] });
    await using client = connect();
    const observer = observe(client, 'web');
    await client.resolve('web-2');
    await eventually(async () => assert.equal(await watchesOf(etcd), 4));
    for (let minutes = 0; minutes < 11; minutes++) t.mock.timers.tick(60_000);
    await eventually(async () => assert.equal(await watchesOf(etcd), 2));
    assert.equal((await client.resolve('web-2')).length, 1);
    assert.equal(observer.seen.length, 1);
    await eventually(async () => assert.equal(await watchesOf(etcd), 4));
  });

  test('an abort ends a question and no more than it (real etcd behind a proxy that holds everything)', async () => {
    await using proxy = await startProxy({ to: `127.0.0.1:${etcd.ports[0]}` });
    proxy.pause();
    await using client = new DiscoverClient({ endpoints: [proxy.address] });
    const abort = new AbortController();
    const observer = observe(client, 'web', { signal: abort.signal });
    const patient = client.resolve('web');
    const hasty = client.resolve('web', { signal: abort.signal });
    const reason = new Error('no patience');
    abort.abort(reason);
    await assert.rejects(hasty, reason);
    await observer.ended;
    await assert.rejects(client.resolve('web', { signal: abort.signal }), reason);
    proxy.resume();
    assert.equal((await patient).length, 3);
  });

  test('a name that could be no service, or two, is refused before etcd is asked (nothing but the client is real)', async () => {
    await using client = new DiscoverClient({ endpoints: ['127.0.0.1:1'] });
    for (const [name, realm] of [[''], ['a/b'], ['a', ''], ['a', 'b/c']]) {
      await assert.rejects(client.resolve(name ?? '', { realm }), { code: 'NAME_INVALID' }, `${name} ${realm}`);
    }
  });

  test('a program that closes its client ends by itself (built package, real etcd)', async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-client-'));
    try {
      const program = path.join(directory, 'program.mjs');
      writeFileSync(
        program,
        `import { DiscoverClient } from '${import.meta.resolve('docker-discover/client')}';
        const client = new DiscoverClient({ endpoints: ['${etcd.endpoint}'] });
        const updates = client.watch('web');
        const { value } = await updates.next();
        console.log(value.instances.length, (await client.services()).get('web'));
        setTimeout(() => client.close(), 10);
        console.log((await updates.next()).done);
        const away = new DiscoverClient({ endpoints: ['127.0.0.1:1'] });
        away.resolve('web').catch(({ code }) => console.log(code));
        await away.close();`,
      );
      const { stdout } = await run(process.execPath, [program], { timeout: guardMs });
      assert.equal(stdout, '3 3\ntrue\nCLIENT_CLOSED\n');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

test('a client whose token ran out logs in again, and one whose role does not reach is told so (real etcd behind a proxy)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await using etcd = await startEtcd({ args: ['--auth-token=simple', '--auth-token-ttl=1'] });
  await using proxy = await startProxy({ to: `127.0.0.1:${etcd.ports[0]}` });
  const asRoot = '--user=root:root-secret';
  await etcd.ctl('user', 'add', 'root:root-secret');
  await etcd.ctl('user', 'grant-role', 'root', 'root');
  await etcd.ctl('role', 'add', 'reader');
  await etcd.ctl('role', 'grant-permission', 'reader', '--prefix=true', 'read', '/discover/service/web/');
  await etcd.ctl('user', 'add', 'me:secret');
  await etcd.ctl('user', 'grant-role', 'me', 'reader');
  await etcd.ctl('auth', 'enable');
  await etcd.ctl(asRoot, 'put', keyOf('web', 1), 'tcp://10.0.0.1:80');
  await using client = new DiscoverClient({ endpoints: [proxy.address], username: 'me', password: 'secret' });
  const observer = observe(client, 'web');
  await eventually(() => assert.equal(observer.seen.length, 1));
  // Tokens go by use: this one is not used any more.
  await sleep(2_500);
  proxy.cut();
  await etcd.ctl(asRoot, 'put', keyOf('web', 2), 'tcp://10.0.0.2:80');
  await eventually(() => assert.equal(observer.seen.at(-1)?.size, 2));
  await eventually(() => assert.equal(client.stale, undefined));

  await assert.rejects(client.services(), { code: 'ETCD_REFUSED' });
  await assert.rejects(client.watch('db').next(), { code: 'ETCD_REFUSED' });
  // Its role does not reach the meta keys.
  await etcd.ctl(asRoot, 'put', keyOf('web', 1).replace('/service/', '/meta/'), '{"weight":3}');
  assert.equal(
    (await client.resolve('web')).some(({ weight }) => weight !== undefined),
    false,
  );
  // What is permitted is answered all the same.
  assert.equal((await client.resolve('web')).length, 2);
  // With both trees, but not what is between them, the metas of all services are followed apart.
  for (const tree of ['/discover/service/', '/discover/meta/']) {
    await etcd.ctl(asRoot, 'role', 'grant-permission', 'reader', '--prefix=true', 'read', tree);
  }
  await using all = new DiscoverClient({ endpoints: [etcd.endpoint], username: 'me', password: 'secret' });
  assert.deepEqual(Object.fromEntries(await all.services()), { web: 2 });
  const weights = async () => (await all.resolve('web')).map(({ weight }) => weight).sort();
  assert.deepEqual(await weights(), [3, undefined]);
  await etcd.ctl(asRoot, 'put', keyOf('web', 2).replace('/service/', '/meta/'), '{"weight":2}');
  await eventually(async () => assert.deepEqual(await weights(), [2, 3]));
  assert.equal(all.stale, undefined);
  await using wrong = new DiscoverClient({ endpoints: [proxy.address], username: 'me', password: 'guess' });
  await assert.rejects(wrong.resolve('web'), { code: 'ETCD_REFUSED', message: /authentication failed/ });
});
