/** Calls of gRPC to `discover:///<name>`, while the servers of the name come and go. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  type Client,
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  status,
} from '@grpc/grpc-js';
import { registerDiscoverResolver } from '../../src/client/grpc.ts';
import { DiscoverClient } from '../../src/client/index.ts';
import { type EtcdServer, startEtcd } from '../helpers/etcd.ts';
import { eventually, guardMs } from '../helpers/eventually.ts';
import { keyOf, startWriter, type Writer } from '../helpers/reader.ts';
import { needs } from '../helpers/run.ts';

const raw = (bytes: Buffer): Buffer => bytes;
const path = '/test.Greeter/Greet';
const greet = {
  ...{ path, requestStream: false, responseStream: false },
  ...{ requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw },
} as const;
const Greeter = makeGenericClientConstructor({ greet }, 'test.Greeter');

/** A call, answered with the port of the server that it went to. */
function call(client: Client, timeoutMs = guardMs): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + timeoutMs };
    client.makeUnaryRequest(path, raw, raw, Buffer.alloc(0), options, (error, answer) => {
      if (error) reject(error);
      else resolve(Number(answer));
    });
  });
}

describe('gRPC', { skip: needs('etcd', 'etcdctl') }, () => {
  let etcd: EtcdServer;
  let writer: Writer;
  let discover: DiscoverClient;
  before(async () => {
    etcd = await startEtcd();
    writer = startWriter(etcd.endpoint);
    discover = new DiscoverClient({ endpoints: etcd.endpoints });
    registerDiscoverResolver(discover);
  });
  after(async () => {
    await discover.close();
    await writer[Symbol.asyncDispose]();
    await etcd.close();
  });
  const connect = (target: string, options = {}): Client => new Greeter(target, credentials.createInsecure(), options);

  /** A server that takes its time, known to etcd until it stops: first its key goes, then it finishes what it has. */
  async function serve(name: string, { realm = 'default', takesMs = 0, meta = {} } = {}) {
    const server = new Server();
    let port = 0;
    server.addService(
      { greet },
      {
        greet: (_call: unknown, answer: (error: null, value: Buffer) => void) => {
          setTimeout(() => answer(null, Buffer.from(String(port))), takesMs);
        },
      },
    );
    port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    const key = keyOf(name, port, { realm });
    const metaKey = key.replace('/service/', '/meta/');
    const say = (given: object): Promise<void> => writer.write(new Map([[metaKey, JSON.stringify(given)]]));
    await writer.write(
      new Map([
        [key, `tcp://127.0.0.1:${port}`],
        [metaKey, JSON.stringify(meta)],
      ]),
    );
    const stop = async (): Promise<void> => {
      await writer.write(
        new Map([
          [key, undefined],
          [metaKey, undefined],
        ]),
      );
      // The grace: until whoever watches has been told.
      await eventually(async () =>
        assert.ok(!(await discover.resolve(name)).some((one) => one.key === key), 'Not yet'),
      );
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    };
    return { port, say, stop };
  }

  test('while servers come and go in order, not one call fails, and each server has its share (real gRPC servers, real etcd)', async () => {
    const servers = [await serve('greeter', { takesMs: 20 }), await serve('greeter', { takesMs: 20 })];
    const client = connect('discover:///greeter');
    let [isOver, calls] = [false, 0];
    const answered = new Set<number>();
    const lane = async (): Promise<void> => {
      for (; !isOver; calls++) answered.add(await call(client));
    };
    const lanes = Promise.all(Array.from({ length: 8 }, lane));
    const failed = lanes.then(
      () => undefined,
      (error: Error) => error,
    );
    for (let round = 0; round < 10; round++) {
      const next = await serve('greeter', { takesMs: 20 });
      servers.push(next);
      await Promise.race([lanes, eventually(() => assert.ok(answered.has(next.port), 'Not yet'))]);
      await servers.shift()?.stop();
    }
    isOver = true;
    assert.equal(await failed, undefined);
    assert.ok(calls > 100, `Only ${calls} calls`);

    await eventually(async () => {
      const shares = new Map<number, number>();
      for (let count = 0; count < 20; count++) {
        const port = await call(client);
        shares.set(port, (shares.get(port) ?? 0) + 1);
      }
      assert.deepEqual([...shares].sort(), servers.map(({ port }) => [port, 10]).sort());
    });
    client.close();
    for (const server of servers) await server.stop();
  });

  test('a realm is asked for in the target; where nobody is, a call fails at once, and works when somebody has come (real gRPC servers, real etcd)', async () => {
    const elsewhere = await serve('echo', { realm: 'blue' });
    const client = connect('discover:///echo?realm=green');
    await assert.rejects(call(client), { code: status.UNAVAILABLE, details: /echo has no instances/ });
    const here = await serve('echo', { realm: 'green' });
    await eventually(async () => assert.equal(await call(client), here.port));
    const both = connect('discover:///echo');
    const answered = new Set<number>();
    await eventually(async () => assert.equal(answered.add(await call(both)).size, 2));
    // The configuration of a channel counts: this one keeps to one server.
    const first = connect('discover:///echo', { 'grpc.service_config': '{"loadBalancingConfig":[{"pick_first":{}}]}' });
    const only = await call(first);
    for (let count = 0; count < 10; count++) assert.equal(await call(first), only);
    // One that names no policy goes to all of them, and keeps what it says of time-outs.
    const config = '{"methodConfig":[{"name":[{}],"timeout":"30.5s","waitForReady":true}]}';
    const patient = connect('discover:///echo', { 'grpc.service_config': config });
    const all = new Set<number>();
    await eventually(async () => assert.equal(all.add(await call(patient)).size, 2));
    for (const one of [client, both, first, patient]) one.close();
    await elsewhere.stop();
    await here.stop();
  });

  test('the service configuration that the document has for Go is read, and its policy goes to all servers in turn (real gRPC servers, real etcd)', async () => {
    const readme = readFileSync(new URL('../../src/client/README.md', import.meta.url), 'utf8');
    const [, config = ''] = /const serviceConfig = `(.*?)`/s.exec(readme) ?? [];
    const servers = [await serve('ofgo', { meta: { weight: 9 } }), await serve('ofgo')];
    const client = connect('discover:///ofgo', { 'grpc.service_config': config });
    const counts = new Map<number, number>();
    await eventually(async () => {
      counts.clear();
      for (let calls = 0; calls < 10; calls++) {
        const port = await call(client);
        counts.set(port, (counts.get(port) ?? 0) + 1);
      }
      // In turn, whatever the weights.
      assert.deepEqual([...counts.values()], [5, 5]);
    });
    client.close();
    // What grpc-js does not take fails the channel when it is made.
    const broken = config.replace('"maxAttempts": 3', '"maxAttempts": "3"');
    assert.throws(() => connect('discover:///ofgo', { 'grpc.service_config': broken }), /maxAttempts/);
    for (const server of servers) await server.stop();
  });

  test('calls are split by weight, go to the lowest priority that is connected, and follow a change of both (real gRPC servers, real etcd)', async () => {
    const heavy = await serve('weighed', { meta: { weight: 3 } });
    const light = await serve('weighed');
    const none = await serve('weighed', { meta: { weight: 0 } });
    const last = await serve('weighed', { meta: { weight: 100, priority: 11 } });
    const client = connect('discover:///weighed');
    const shares = async () => {
      const counts = new Map<number, number>();
      for (let count = 0; count < 40; count++) {
        const port = await call(client);
        counts.set(port, (counts.get(port) ?? 0) + 1);
      }
      return [heavy, light, none, last].map(({ port }) => counts.get(port) ?? 0);
    };
    await eventually(async () => assert.deepEqual(await shares(), [30, 10, 0, 0]));
    await light.say({ weight: 1, tags: ['news'] });
    await heavy.say({ weight: 1 });
    await eventually(async () => assert.deepEqual(await shares(), [20, 20, 0, 0]));
    await heavy.stop();
    await light.say({ weight: 0 });
    await last.say({ weight: 0, priority: 11 });
    // All that is left has weight 0, and then the priority counts.
    await eventually(async () => assert.deepEqual(await shares(), [0, 20, 20, 0]));
    await light.stop();
    await none.stop();
    await eventually(async () => assert.deepEqual(await shares(), [0, 0, 0, 40]));
    client.close();
    await last.stop();
  });

  test('two instances at one address have the calls of both (real gRPC servers, real etcd)', async () => {
    const [one, two] = [
      await serve('doubled', { meta: { weight: 2 } }),
      await serve('doubled', { meta: { weight: 1 } }),
    ];
    const again = keyOf('doubled', 1, { host: 'h2' });
    await writer.write(new Map([[again, `tcp://127.0.0.1:${one.port}`]]));
    const client = connect('discover:///doubled');
    await eventually(async () => {
      let count = 0;
      for (let calls = 0; calls < 40; calls++) if ((await call(client)) === one.port) count++;
      assert.equal(count, 30);
    });
    client.close();
    await writer.write(new Map([[again, undefined]]));
    await one.stop();
    await two.stop();
  });

  test('while etcd is away calls go on as before (real gRPC servers, real etcd)', async () => {
    const server = await serve('steady');
    const client = connect('discover:///steady');
    await call(client);
    await etcd.kill();
    await eventually(() => assert.ok(discover.stale, 'Not yet'));
    for (let count = 0; count < 10; count++) assert.equal(await call(client), server.port);
    await etcd.restart();
    await eventually(() => assert.equal(discover.stale, undefined));
    client.close();
    await server.stop();
  });

  test('what etcd refuses, or no service can be called, is said in the status of the call (real etcd)', async () => {
    const wrong = connect('discover:///a/b');
    await assert.rejects(call(wrong), { code: status.UNAVAILABLE, details: /name without slash, got "a\/b"/ });
    wrong.close();
    const unknown = connect('discover:///echo?relm=b');
    await assert.rejects(call(unknown), { code: status.UNAVAILABLE, details: /parameter realm, got "relm"/ });
    unknown.close();
  });
});
