/** What people take out of traffic, from any machine that reaches etcd; and the states that readers may ask for. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { DiscoverClient, type Update } from '../../src/client/index.ts';
import { type Outcome, runCommand } from '../helpers/command.ts';
import { eventually } from '../helpers/eventually.ts';
import { connectionOf, ended, freePort, fromEngine, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

describe('maintenance', { skip: needs('etcd', 'etcdctl') }, () => {
  let engine: EngineHandle;
  before(async () => {
    engine = await forkEngine();
    await engine.run(
      [1, 2, 3].map((n) => ({ name: `shop-${n}`, env: ['DISCOVER=shop:80'], ports: [{ container: '80/tcp' }] })),
    );
  });
  after(() => engine.close());

  const idsOf = async () => (await engine.snapshot()).map(({ id }) => id.slice(0, 12));
  const maintenance = (host: Host, ...args: string[]): Promise<Outcome> =>
    runCommand(['maintenance', ...args, '--etcd:endpoints', host.etcd.endpoint]);
  const well = async (outcome: Promise<Outcome>): Promise<string> => {
    const { code, err, out } = await outcome;
    assert.equal(code, 0, err + out);
    return out;
  };
  /** The short ids of what readers find. */
  const found = async (host: Host): Promise<string[]> => {
    const keys = [...(await host.etcd.get('/discover/service/shop/')).keys()];
    return keys.map((key) => key.slice(-12)).sort();
  };
  const publishes = (host: Host, ids: readonly string[]) =>
    eventually(async () => assert.deepEqual(await found(host), [...ids].sort()));

  test('a container is taken out by its id, stays out over a restart of discover and of etcd, and comes back (simulated engine, real etcd)', async () => {
    const [port, [one = '', ...others]] = [await freePort(), await idsOf()];
    await using host = await startHost({
      ...{ source: fromEngine(engine), args: ['--http:listen', String(port)], record: false },
    });
    await publishes(host, [one, ...others]);
    assert.match(
      await well(maintenance(host, 'on', one.slice(0, 9), '--reason', 'new disk')),
      new RegExp(`h1 +${one} .*new disk`),
    );
    await publishes(host, others);
    const of = connectionOf(host, engine);
    const why = await runCommand(['why', one, ...of]);
    assert.equal(why.code, 1);
    assert.match(why.out, /traffic: in maintenance since .* by .*: new disk \(maintenance\)/);
    assert.equal(await well(runCommand(['verify', ...of])), 'exact: 4 keys of 3 containers of h1\n');
    const base = `http://127.0.0.1:${port}`;
    const { containers } = (await (await fetch(`${base}/status`)).json()) as {
      containers: { id: string; lifecycle: string; traffic: { maintenance?: { reason: string; of: string } } | null }[];
    };
    const told = containers.find(({ id }) => id === one);
    assert.deepEqual(
      [told?.lifecycle, told?.traffic?.maintenance?.reason, told?.traffic?.maintenance?.of],
      ['maintenance', 'new disk', 'container'],
    );
    const metrics = await (await fetch(`${base}/metrics`)).text();
    assert.match(metrics, /^discover_maintenance\{of="container"\} 1$/m);
    assert.match(metrics, /^discover_containers\{state="maintenance"\} 1$/m);

    await host.terminate();
    const recorder = await host.etcd.record('/discover/service/');
    await host.launch();
    await host.etcd.restart();
    await well(maintenance(host, 'on', '--host', 'h1'));
    await publishes(host, []);
    const listed = await well(maintenance(host, 'list', '-o', 'json'));
    assert.deepEqual(
      (JSON.parse(listed) as { container: string | null }[]).map(({ container }) => container),
      [null, one],
    );
    const off = await maintenance(host, 'off', one);
    assert.equal(off.code, 0);
    assert.match(off.err, /host h1 is in maintenance as a whole/);
    await well(maintenance(host, 'off', '--host', 'h1'));
    await publishes(host, [one, ...others]);
    await recorder.settled();
    const puts = recorder.changes.filter(({ kind, key }) => kind === 'put' && key.endsWith(one));
    assert.equal(puts.length, 1, 'It came back once, when it was let in');
    await recorder.close();
    const nothing = await maintenance(host, 'off', one);
    assert.equal(nothing.code, 1);
    assert.match(nothing.err, /is not in maintenance/);
  });

  test('a container is named as etcd knows it, and readers may follow its states (simulated engine, real etcd)', async () => {
    const [one = '', two = '', three = ''] = await idsOf();
    await using host = await startHost({
      ...{ source: fromEngine(engine), args: ['--etcd:meta', 'always'], record: false },
    });
    await publishes(host, [one, two, three]);
    // Another host has a container of the same name.
    const other = '/discover/meta/shop/default/h2/aaaaaaaaaaaa';
    await host.etcd.put(new Map([[other, '{"privatePort":80,"container":"shop-1"}']]));
    const ambiguous = await maintenance(host, 'on', 'shop-1');
    assert.equal(ambiguous.code, 1);
    assert.match(ambiguous.err, /"shop-1" may be h1\/[0-9a-f]{12} \(shop-1\), h2\/aaaaaaaaaaaa \(shop-1\)/);
    await using client = new DiscoverClient({ endpoints: [host.etcd.endpoint] });
    const states: Record<string, string | undefined>[] = [];
    const stop = new AbortController();
    const take = ({ instances }: Update) =>
      void states.push(Object.fromEntries(instances.map(({ container, state }) => [container, state])));
    const watching = (async () => {
      for await (const update of client.watch('shop', { states: true, signal: stop.signal })) take(update);
    })();
    const last = (wanted: Record<string, string>) => eventually(() => assert.deepEqual(states.at(-1), wanted));
    const all = { 'shop-1': 'ready', 'shop-2': 'ready', 'shop-3': 'ready' };
    await last(all);
    await well(maintenance(host, 'on', 'shop-1', '--host', 'h1'));
    await last({ ...all, 'shop-1': 'maintenance' });
    assert.deepEqual((await client.resolve('shop')).map(({ container }) => container).sort(), ['shop-2', 'shop-3']);
    const withheld = (await client.resolve('shop', { states: true })).find(({ container }) => container === 'shop-1');
    assert.equal(withheld?.address, '10.0.0.5');
    const of = ['--etcd:endpoints', host.etcd.endpoint];
    const [plain, wide] = [
      await well(runCommand(['ls', 'shop', ...of])),
      await well(runCommand(['ls', '--all', ...of])),
    ];
    assert.doesNotMatch(plain, new RegExp(`STATE|${one}`));
    assert.match(wide, new RegExp(`^STATE .*\\n(.*\\n)*maintenance +shop +default +h1 +${one} `));
    assert.equal((await runCommand(['verify', '--etcd:meta', 'always', ...connectionOf(host, engine)])).code, 0);
    await well(maintenance(host, 'off', 'shop-1'));
    await last(all);
    stop.abort();
    await watching;
  });

  test('what cannot be meant is told before anything is written (simulated engine, real etcd)', async () => {
    await using host = await startHost({ source: fromEngine(engine), record: false });
    const refused: [args: string[], code: number, said: RegExp][] = [
      [[], 78, /missing <on\|off\|list>/],
      [['up'], 78, /maintenance must be followed by on, off or list, got "up"/],
      [['on'], 78, /maintenance on needs a container, or --host for a whole host/],
      [['on', '--host', 'a/b'], 78, /--host must be 1 to 255 characters without slash.*, got "a\/b"/],
      [['off', 'x', '--reason', 'y'], 78, /--reason is for maintenance on/],
      [['on', 'x', '--reason', 'a\u0007'], 78, /--reason must be 1 to 255 characters without control characters/],
      [['on', 'nowhere'], 1, /etcd has no container "nowhere": give the beginning of its id/],
      [['list', 'nowhere'], 1, /^$/],
    ];
    for (const [args, code, said] of refused) {
      const outcome = await maintenance(host, ...args);
      assert.equal(outcome.code, code, outcome.err);
      assert.match(outcome.err, said);
    }
    assert.equal((await host.etcd.get('/discover/maintenance/')).size, 0);
    // No agent publishes it now, so no name leads to it: its whole id does.
    const unknown = await maintenance(host, 'on', 'b'.repeat(64), '--host', 'h9');
    assert.equal(unknown.code, 0);
    assert.match(unknown.err, /no discover writes for host h9 now/);
    await host.etcd.put(new Map([['/discover/maintenance/h1/web', '{}']]));
    const { err, out } = await maintenance(host, 'list');
    assert.match(err, /\/discover\/maintenance\/h1\/web is ignored/);
    assert.match(out, /h9 +b{12} /);
    await eventually(() => assert.match(host.discover.output, /maintenance key ignored/));
  });

  test('with host.onExit=drain SIGTERM takes the keys away, waits and ends; a second one ends it at once (simulated engine, real etcd)', async () => {
    const ids = await idsOf();
    const args = ['--host:onExit', 'drain', '--host:drainSeconds', '1', '--etcd:meta', 'always'];
    await using host = await startHost({ source: fromEngine(engine), args, record: false });
    await publishes(host, ids);
    host.discover.signal('SIGTERM');
    await host.discover.waitForLog(({ msg }) => msg === 'drained: waiting before the end');
    assert.deepEqual(await found(host), []);
    const metas = [...(await host.etcd.get('/discover/meta/')).values()];
    assert.equal(metas.filter((meta) => meta.includes('"state":"draining"')).length, ids.length);
    assert.deepEqual(await ended(host.discover), { code: 0, signal: null });
    assert.equal((await host.etcd.get('/discover/meta/')).size, 0);

    await host.launch(['--host:drainSeconds', '3600']);
    await publishes(host, ids);
    host.discover.signal('SIGTERM');
    await host.discover.waitForLog(({ msg }) => msg === 'drained: waiting before the end');
    host.discover.signal('SIGTERM');
    assert.deepEqual(await ended(host.discover), { code: 143, signal: null });
  });
});
