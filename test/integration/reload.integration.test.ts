/** A configuration that is read again: what readers of etcd see of it, and what becomes of one that does not work. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  assertOnlyDeadDeleted,
  ended,
  expected,
  freePort,
  fromEngine,
  knownOf,
  knownOfLives,
  startHost,
} from '../helpers/host.ts';
import { type LogLine, needs, type Running, runDiscover } from '../helpers/run.ts';
import { amount, testInFull } from '../helpers/share.ts';

const here = { skip: needs('etcd', 'etcdctl'), concurrency: 3 };
const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-reload-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A configuration file of its own, and the argument that names it. */
function configFile(name: string, options: object = {}) {
  const file = path.join(directory, `${name}.json`);
  const write = (content: object): void => writeFileSync(file, JSON.stringify(content));
  write(options);
  return { write, args: ['--config', file] };
}

/** Keys that the helper has put beside this host's. */
const isOfNeighbours = (key: string): boolean => /\/h1x|^\/discoverx/.test(key);

const reloaded = 'configuration reloaded';
const refused = 'reload failed; keeping the previous configuration';

/** Has it read its configuration again, and waits for what it says in the end. */
async function reload(discover: Running, said = reloaded): Promise<LogLine> {
  const seen = discover.logs.length;
  discover.signal('SIGHUP');
  return lineAfter(discover, seen, said);
}

function lineAfter(discover: Running, seen: number, said: string): Promise<LogLine> {
  return eventually(() => {
    const line = discover.logs.slice(seen).find(({ msg }) => msg === said);
    if (line === undefined) throw new Error(`It has not said "${said}":\n${discover.output.slice(-3000)}`);
    return line;
  });
}

// Each with an engine of its own: what one of them starts there is no news to the others.
describe('a reload', here, () => {
  test('touches no key that stays as it is, while others come and go and with host.onExit=remove (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 40 });
    const file = configFile('churn');
    const args = [...file.args, '--host:onExit', 'remove'];
    await using host = await startHost({ source: fromEngine(engine), args });
    await host.converged();
    const count = await host.mark();
    const before = await engine.snapshot();
    const staying = new Set(before.map(({ id }) => id.slice(0, 12)));
    const churned = engine.churn({ rate: 100, seconds: amount(3, 6), lifetimeMs: 300 });
    let isOver = false;
    void churned.finally(() => {
      isOver = true;
    });
    let reloads = 0;
    for (; !isOver || reloads < amount(2, 3); reloads++) {
      file.write({ resync: 100 + reloads, debug: reloads % 2 === 0, workers: reloads % 3 });
      await reload(host.discover);
    }
    const { lifecycles } = await churned;
    await host.converged(new Map([...knownOf(before), ...knownOfLives(lifecycles)]));
    const changes = await host.changesSince(count);
    assertOnlyDeadDeleted(changes, lifecycles);
    assert.deepEqual(
      changes.filter(({ key }) => staying.has(key.slice(-12))),
      [],
      `A key that was to stay was touched in one of ${reloads} reloads`,
    );
    for (const { kind, key, value, previous } of changes) {
      assert.ok(kind === 'delete' || value !== previous, `Written again as it was: ${key}`);
    }
    assert.ok(changes.length > 2 * reloads, `${changes.length} changes, ${reloads} reloads`);
  });

  test('that changes who the host is shows each instance all the time, and nothing of before in the end (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 40 });
    const file = configFile('identity', { host: { id: 'h1' } });
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const args = ['--docker:socketPath', engine.socketPath, '--etcd:endpoints', host.etcd.endpoint];
    await using discover = runDiscover([...args, '--host:ip', '10.0.0.5', '--etcd:ttl', '60', ...file.args]);
    await discover.waitForLog((line) => line.msg === 'started');
    await eventually(() => host.assertExact());
    await using recorder = await host.etcd.record('/');
    const shortIds = (await engine.snapshot()).map(({ id }) => id.slice(0, 12));
    for (const identity of [
      { realm: 'blue', id: 'h1' },
      { realm: 'blue', id: 'h2' },
      { realm: 'blue', id: 'h2', prefix: '/elsewhere' },
      { realm: 'default', id: 'h1', prefix: '/discover' },
    ]) {
      const { prefix = '/discover', ...names } = identity;
      file.write({ host: names, etcd: { prefix } });
      await reload(discover);
      const wanted = expected(await fromEngine(engine).running(), { ...host.names, ...names });
      const moved = [...wanted].map(([key, value]) => [
        key.replace('/discover', prefix),
        JSON.parse(JSON.stringify(value).replaceAll('"/discover', `"${prefix}`)),
      ]);
      await eventually(async () => {
        const all = [...(await host.etcd.get('/'))].filter(([key]) => !isOfNeighbours(key));
        const owners = all.filter(([key]) => key.includes('/owner/'));
        assert.deepEqual(
          owners.map(([key]) => key),
          [`${prefix}/owner/${names.id ?? 'h1'}`],
        );
        const held = all.filter(([key]) => !key.includes('/owner/'));
        const read = held.map(([key, value]) => [key, key.includes('/host/') ? JSON.parse(value) : value]);
        assert.deepEqual(read.sort(), moved.sort());
      });
    }
    // At no revision was there a container of which nothing was published.
    await recorder.settled();
    for (const revision of new Set(recorder.changes.map((change) => change.revision))) {
      const keys = [...recorder.at(revision).keys()].filter((key) => key.includes('/service/'));
      for (const shortId of shortIds)
        assert.ok(
          keys.some((key) => key.endsWith(shortId)),
          `${shortId} at ${revision}`,
        );
    }
  });

  test('that cannot be used is one line that says why, and is told to Prometheus (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 40 });
    const file = configFile('invalid');
    const port = await freePort();
    const args = [...file.args, '--http:listen', String(port)];
    await using host = await startHost({ source: fromEngine(engine), args });
    const metric = async (name: string) => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Number(new RegExp(`^discover_${name} (\\S+)$`, 'm').exec(text)?.[1]);
    };
    await host.converged();
    const count = await host.mark();
    const at = await metric('config_last_reload_success_timestamp_seconds');
    assert.ok(Math.abs(Date.now() / 1000 - at) < 600, `${at}`);
    file.write({ resync: 'often', host: { realm: 'a/b' } });
    const { level, error } = await reload(host.discover, refused);
    assert.equal(level, 'error');
    assert.match(String(error), /resync \(.*invalid\.json\) must be an integer from 1 to 86400, got "often"/);
    assert.match(String(error), /host\.realm .*must be 1 to 255 bytes without slash.*got "a\/b"/);
    assert.equal(await metric('config_last_reload_successful'), 0);
    assert.equal(await metric('config_last_reload_success_timestamp_seconds'), at);
    await engine.run([{ env: ['DISCOVER=later:8080'], ports: [{ container: '8080/tcp' }] }]);
    await host.converged();
    assert.ok(host.recorder.changes.length > count);
    file.write({ resync: 90 });
    await reload(host.discover);
    assert.equal(await metric('config_last_reload_successful'), 1);
    assert.ok((await metric('config_last_reload_success_timestamp_seconds')) > at);
    rmSync(path.join(directory, 'invalid.json'));
    await reload(host.discover, refused);
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  });

  testInFull(
    'to an etcd that does not answer, or to an id that is taken, changes nothing; another one calls it off (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 40 });
      await using host = await startHost({ source: fromEngine(engine), ttl: 60, names: { id: 'h2' } });
      const dead = `127.0.0.1:${await freePort()}`;
      const options = (id: string, endpoint = host.etcd.endpoint) => ({
        docker: { socketPath: engine.socketPath },
        etcd: { ttl: 60, endpoints: [endpoint] },
        host: { id, ip: '10.0.0.5', onExit: 'remove' },
      });
      const file = configFile('dead', options('h1'));
      await using discover = runDiscover(file.args);
      await discover.waitForLog((line) => line.msg === 'started');
      const keysOf = async (name: string) => [...(await host.etcd.get(`/discover/service/${name}/default/h1/`)).keys()];
      const publishes = async (name: string) => {
        await engine.run([{ env: [`DISCOVER=${name}:8080`], ports: [{ container: '8080/tcp' }] }]);
        await eventually(async () => assert.equal((await keysOf(name)).length, 1));
      };

      // It is tried, and meanwhile the old one goes on.
      file.write(options('h1', dead));
      const seen = discover.logs.length;
      discover.signal('SIGHUP');
      await lineAfter(discover, seen, 'etcd unavailable');
      await publishes('meanwhile');
      // Not for half a minute, because something else is asked for.
      file.write({ ...options('h1'), resync: 90 });
      await reload(discover);
      await publishes('afterwards');

      file.write(options('h2'));
      assert.equal((await reload(discover, refused)).code, 'HOST_ID_TAKEN');
      await publishes('still');
      // Nor has it touched what the other has published.
      const running = (await engine.snapshot()).filter(({ state }) => state === 'running');
      await eventually(async () => assert.equal((await host.etcd.get('/discover/host/h2/')).size, running.length));

      // The end counts for the old one as well: its keys go, as it was told.
      file.write(options('h1', dead));
      const before = discover.logs.length;
      discover.signal('SIGHUP');
      await lineAfter(discover, before, 'etcd unavailable');
      discover.signal('SIGTERM');
      assert.deepEqual(await ended(discover), { code: 0, signal: null });
      assert.deepEqual(await keysOf('still'), []);
    },
  );

  test('moves log and endpoint, and takes no address that is in use (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 40 });
    const file = configFile('moves');
    const [first, second] = [path.join(directory, 'first.log'), path.join(directory, 'second.log')];
    const [here, there, taken] = [await freePort(), await freePort(), await freePort()];
    const server = net.createServer().listen(taken, '127.0.0.1');
    const options = (listen: number, log = first, realm = 'default') => ({ http: { listen }, log, host: { realm } });
    file.write(options(here));
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const args = ['--docker:socketPath', engine.socketPath, '--etcd:endpoints', host.etcd.endpoint];
    await using discover = runDiscover([...args, '--host:ip', '10.0.0.5', '--host:id', 'h1', ...file.args]);
    const says = (log: string, text: string) => eventually(() => assert.match(readFileSync(log, 'utf8'), RegExp(text)));
    const realmAt = async (port: number) => {
      const status = (await (await fetch(`http://127.0.0.1:${port}/status`)).json()) as { host: { realm: string } };
      return status.host.realm;
    };
    await says(first, '"msg":"started"');
    await eventually(async () => assert.equal(await realmAt(here), 'default'));
    await eventually(() => host.assertExact());

    file.write(options(taken, second, 'blue'));
    discover.signal('SIGHUP');
    await says(first, `"code":"LISTEN_FAILED","error":"[^"]*${taken}.*"msg":"${refused}"`);
    assert.equal(await realmAt(here), 'default');
    await host.assertExact();

    // At the same address, about the new one.
    file.write(options(here, first, 'blue'));
    discover.signal('SIGHUP');
    await says(first, reloaded);
    await eventually(async () => assert.equal(await realmAt(here), 'blue'));

    file.write(options(there, second, 'green'));
    discover.signal('SIGHUP');
    await says(second, '"msg":"started"');
    await eventually(async () => assert.equal(await realmAt(there), 'green'));
    await eventually(() => assert.rejects(realmAt(here)));
    await says(second, reloaded);
    const length = readFileSync(first, 'utf8').length;
    discover.signal('SIGTERM');
    assert.deepEqual(await ended(discover), { code: 0, signal: null });
    await says(second, '"msg":"stopped"');
    assert.equal(readFileSync(first, 'utf8').length, length);
    assert.equal(discover.output, '');
    server.close();
  });

  testInFull('works although the package was replaced on disk meanwhile (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 2 });
    const repository = fileURLToPath(new URL('../..', import.meta.url));
    const installed = path.join(directory, 'installed');
    for (const part of ['dist', 'package.json'])
      cpSync(path.join(repository, part), path.join(installed, part), { recursive: true });
    symlinkSync(path.join(repository, 'node_modules'), path.join(installed, 'node_modules'));
    const dist = path.join(installed, 'dist');
    const file = configFile('replaced');
    await using host = await startHost({ source: fromEngine(engine), idle: true });
    const args = ['--docker:socketPath', engine.socketPath, '--etcd:endpoints', host.etcd.endpoint, ...file.args];
    await using discover = runDiscover([...args, '--host:ip', '10.0.0.5', '--host:id', 'h1', '--debug'], {
      script: path.join(dist, 'cli.js'),
    });
    await discover.waitForLog(({ msg }) => msg === 'loaded the code for a reload');
    // A new version has other chunks. Its worker has the same name, and what that needs lies beside it.
    const needed = new Set<string>();
    const keep = (name: string): void => {
      if (needed.has(name)) return;
      needed.add(name);
      const code = readFileSync(path.join(dist, name), 'utf8');
      for (const [, other = ''] of code.matchAll(/(?:from|import)\s*"\.\/([^"]+)"/g)) keep(other);
    };
    keep('worker.js');
    for (const name of readdirSync(dist).filter((one) => one.endsWith('.js') && !needed.has(one)))
      rmSync(path.join(dist, name));

    const port = await freePort();
    file.write({ host: { realm: 'blue' }, http: { listen: port } });
    await reload(discover);
    await engine.run([{ env: ['DISCOVER=late:80'], ports: [{ container: '80/tcp' }] }]);
    await eventually(async () => {
      const keys = [...(await host.etcd.get('/discover/service/late/blue/h1/')).keys()];
      assert.equal(keys.length, 1);
    });
    assert.equal((await fetch(`http://127.0.0.1:${port}/readyz`)).status, 200);
  });

  testInFull('may be asked for again and again, and while it stops (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 40 });
    const file = configFile('again');
    await using host = await startHost({ source: fromEngine(engine), args: file.args, ttl: 60 });
    await host.converged();
    const count = await host.mark();
    for (let resync = 100; resync < 120; resync++) {
      file.write({ resync });
      host.discover.signal('SIGHUP');
      // So that some come while one is read, some while it is tried and some while it takes over.
      await sleep(resync % 5 === 0 ? 100 : resync % 7);
    }
    // Each calls off what is being tried: the last one ends with what the file holds.
    await host.discover.waitForLog((line) => line.msg === reloaded && host.discover.logs.at(-1) === line);
    const seen = host.discover.logs.length;
    host.discover.signal('SIGHUP');
    await lineAfter(host.discover, seen, 'configuration unchanged');
    assert.deepEqual(await host.changesSince(count), []);
    file.write({ resync: 200 });
    host.etcd.pause();
    host.discover.signal('SIGTERM');
    await host.discover.waitForLog((line) => line.msg === 'stopping');
    host.discover.signal('SIGHUP');
    assert.deepEqual(await ended(host.discover), { code: 0, signal: null });
    host.etcd.resume();
    await host.launch();
    await host.converged();
  });
});
