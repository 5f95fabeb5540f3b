/**
 * The defects of docker-modem that `src/docker/modem.ts` works around, each shown twice: docker-modem by itself has it, and a
 * call of ours has not. When a first test fails, docker-modem has mended that defect: delete its line in `modem.ts`, and the
 * test. Simulated engine: node:http.
 */
import assert from 'node:assert/strict';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as turn } from 'node:timers/promises';
import { inspect } from 'node:util';
import DockerModem from 'docker-modem';
import Dockerode from 'dockerode';
import { systemClock } from '../../src/actor/clock.ts';
import { askList } from '../../src/docker/call.ts';
import { DockerClient } from '../../src/docker/docker.ts';
import { ModemCall, withoutEnvironment } from '../../src/docker/modem.ts';
import { messageOf } from '../../src/errors.ts';
import { eventually } from '../helpers/eventually.ts';

type Engine = { readonly port: number; readonly asked: string[]; readonly endpoint: ReturnType<typeof endpointOf> };
const endpointOf = (port: number) => ({ kind: 'tcp', host: '127.0.0.1', port }) as const;

async function withEngine(answer: http.RequestListener, use: (engine: Engine) => Promise<void>): Promise<void> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await use({ port, asked, endpoint: endpointOf(port) });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** docker-modem as anybody uses it; resolves with what its callback is given. */
const plainly = (port: number, more = {}) => {
  const modem = new DockerModem({ socketPath: undefined, host: '127.0.0.1', port, protocol: 'http', ...more });
  return new Promise<unknown>((resolve) => {
    modem.dial({ path: '/version', method: 'GET', statusCodes: { 200: true } }, (error, result) =>
      resolve(error ?? result),
    );
  });
};

const redirect: http.RequestListener = (request, response) => {
  if (request.url === '/elsewhere') response.end('{}');
  else response.writeHead(302, { location: '/elsewhere' }).end('{"message":"Found"}');
};
const cut: http.RequestListener = (_, response) => {
  response.writeHead(200, { 'content-length': '100' }).write('{"Version":');
  setImmediate(() => response.destroy());
};
const never: http.RequestListener = () => {};
const limits = { versionPrefix: '', bytesMax: 1 };
const engine = { versionPrefix: '', serverVersion: '', product: 'Docker Engine', engineSeconds: 0 } as const;

const chunkedHead = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

/** What of the body comes of an answer that a server of raw bytes sends in these pieces; ends with the stream. */
async function streamOf(pieces: readonly string[], end: 'keep' | 'close' | 'reset'): Promise<string> {
  const server = net.createServer((socket) => {
    socket.setNoDelay(true).on('error', () => {});
    socket.once('data', async () => {
      for (const piece of pieces) {
        socket.write(piece, 'latin1');
        await turn(2);
      }
      if (end === 'close') socket.end();
      if (end === 'reset') socket.resetAndDestroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  let body = '';
  try {
    const client = new DockerClient(endpointOf(port), undefined, systemClock);
    const { ended } = await client.events(engine, 0, (bytes) => {
      body += bytes.toString('latin1');
    });
    await ended;
    return body;
  } finally {
    server.close();
  }
}

describe('docker-modem by itself', () => {
  test('sends a request to whatever a redirect names', async () => {
    await withEngine(redirect, async ({ port, asked }) => {
      await plainly(port);
      await eventually(() => assert.deepEqual(asked, ['GET /version', 'GET /elsewhere']));
    });
  });

  test('never settles a call whose answer is cut short', async () => {
    await withEngine(cut, async ({ port }) => {
      let settled = false;
      const call = plainly(port).then(() => {
        settled = true;
      });
      // The whole connection is over, and a turn of every queue behind it.
      const over = new Promise<void>((resolve) => {
        http.get({ port, host: '127.0.0.1' }, (response) => response.on('error', () => {}).on('close', resolve)).end();
      });
      await over;
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.race([call, Promise.resolve()]);
      assert.equal(settled, false);
    });
  });

  test('hands on as a Buffer what is not JSON', async () => {
    await withEngine(
      (_, response) => response.end('{"Version":'),
      async ({ port }) => assert.ok(Buffer.isBuffer(await plainly(port)), 'a Buffer'),
    );
  });

  test('formats every request, the agent included, for a line that it does not write', async () => {
    let formatted = 0;
    const count = () => {
      formatted++;
      return 'agent';
    };
    const agent = Object.assign(new http.Agent(), { [inspect.custom]: count });
    await withEngine(
      (_, response) => response.end('{}'),
      async ({ port }) => {
        await plainly(port, { agent });
        assert.equal(formatted, 1);
      },
    );
  });

  test('throws for an environment that it has no need of', () => {
    withEnvironment({ DOCKER_HOST: 'tcp://a b' }, () => {
      assert.throws(() => new DockerModem({ socketPath: '/run/docker.sock' }), /DOCKER_HOST/);
    });
  });
});

function withEnvironment(variables: Record<string, string>, use: () => void): void {
  const { env } = process;
  process.env = { ...env, ...variables };
  try {
    use();
  } finally {
    process.env = env;
  }
}

describe('a call of ours', () => {
  test('follows no redirect', async () => {
    await withEngine(redirect, async ({ endpoint, asked }) => {
      const client = new DockerClient(endpoint, undefined, systemClock);
      await assert.rejects(client.negotiate(), /status 302: Found/);
      await assert.rejects(askList(endpoint, systemClock, ''), /status 302: Found/);
      assert.deepEqual(
        asked.filter((one) => one.includes('elsewhere')),
        [],
      );
    });
  });

  test('fails at once when its answer is cut short', async () => {
    await withEngine(cut, async ({ endpoint }) => {
      // A clock on which no time passes: what ends the calls is not their time limit.
      const clock = { ...systemClock, after: () => () => {} };
      await assert.rejects(new DockerClient(endpoint, undefined, clock).negotiate(), /aborted|cut short/);
      await assert.rejects(askList(endpoint, clock, '/v1.41'), /aborted|cut short/);
    });
  });

  test('takes nothing for a version that is not JSON', async () => {
    await withEngine(
      (request, response) => response.end(request.url === '/version' ? '{"Version":' : 'OK'),
      async ({ endpoint }) => {
        const found = await new DockerClient(endpoint, undefined, systemClock).negotiate();
        assert.equal(found.serverVersion, 'unknown');
      },
    );
  });

  test('costs no formatting of its agent', () => {
    const { agent } = new ModemCall(endpointOf(1), limits).options;
    assert.equal(inspect(agent, { showHidden: true, depth: null }), 'agent');
  });

  test('reads no environment', () => {
    withEnvironment({ DOCKER_HOST: 'tcp://a b', DOCKER_CERT_PATH: '/nowhere' }, () => {
      const call = new ModemCall({ kind: 'socket', path: '/run/docker.sock' }, limits);
      const before = process.env;
      withoutEnvironment(() => new DockerModem(call.options));
      assert.equal(process.env, before);
    });
  });

  test('sends nothing but GET of an allowed path, whatever dockerode makes of it', async () => {
    await withEngine(never, async ({ endpoint, asked }) => {
      const call = new ModemCall(endpoint, limits);
      const modem = withoutEnvironment(() => new DockerModem(call.options));
      const dialled = (method: string, path: string) =>
        new Promise((resolve) => {
          modem.dial({ method, path, isStream: true, statusCodes: { 200: true } }, (error) =>
            resolve(messageOf(error)),
          );
        });
      assert.match(String(await dialled('POST', '/version')), /Method must be GET/);
      assert.match(String(await dialled('GET', '/images/json')), /Path must be one of the five/);
      assert.match(String(await dialled('GET', '/containers/json?all=1&size=1&')), /Path must be one of the five/);
      assert.deepEqual(asked, []);
    });
  });

  test('is ended by its time limit, also one that dockerode gives no way to end', async () => {
    await withEngine(never, async ({ endpoint, asked }) => {
      const timers: (() => void)[] = [];
      const clock = {
        ...systemClock,
        after: (_ms: number, action: () => void) => {
          timers.push(action);
          return () => {};
        },
      };
      const docker = new DockerClient(endpoint, undefined, clock);
      const negotiated = docker.negotiate();
      // A proxy that buffers keeps the head of an event stream.
      const events = docker.events(engine, 0, () => {});
      await eventually(() => assert.equal(asked.length, 3));
      for (const expire of timers) expire();
      await assert.rejects(negotiated, /no answer to \/_ping within 5000 ms$/);
      await assert.rejects(events, /no answer to \/events within 5000 ms: if a proxy .* turn off its buffering$/);
    });
  });

  test('takes no more of an answer than its limit', async () => {
    await withEngine(
      (_, response) => void response.end(Buffer.alloc(3 << 20, 0x20)),
      async ({ endpoint }) => {
        await assert.rejects(
          new DockerClient(endpoint, undefined, systemClock).negotiate(),
          /answer is larger than 1048576 bytes/,
        );
      },
    );
  });

  test('tells of an event stream that was cut before it was looked at', async () => {
    await withEngine(cut, async ({ endpoint }) => {
      const stream = await new DockerClient(endpoint, undefined, systemClock).events(engine, 0, () => {});
      await stream.ended;
    });
  });
});

describe('an event stream', () => {
  test('is the body, wherever the answer is cut in two', async () => {
    const answer = `HTTP/1.1 100 Continue\r\n\r\n${chunkedHead}5\r\nhello\r\n3;x\r\nyou\r\n0\r\n\r\n`;
    const places = Array.from(answer, (_, place) => place).slice(1);
    const bodies = await Promise.all(
      places.map((place) => streamOf([answer.slice(0, place), answer.slice(place)], 'keep')),
    );
    assert.deepEqual(
      bodies,
      places.map(() => 'helloyou'),
    );
  });

  const ends: readonly (readonly [name: string, pieces: string[], end: 'keep' | 'close' | 'reset', body: string])[] = [
    ['its last chunk, on a connection that is kept', [chunkedHead, '1\r\na\r\n', '0\r\n\r\n'], 'keep', 'a'],
    ['its last chunk, all in one piece', [`${chunkedHead}1\r\na\r\n0\r\n\r\n`], 'keep', 'a'],
    ['an answer without a body', ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'], 'keep', ''],
    ['the connection, of a body without a length', ['HTTP/1.0 200 OK\r\n\r\n', 'ab', 'c'], 'close', 'abc'],
    ['the connection, between two chunks', [chunkedHead, '1\r\na\r\n'], 'close', 'a'],
    ['the connection, within a chunk', [chunkedHead, '2\r\na'], 'close', 'a'],
    ['a reset', [chunkedHead, '1\r\na\r\n'], 'reset', 'a'],
    ['a chunk that has no size', [chunkedHead, '1\r\na\r\n', 'x\r\nb\r\n'], 'keep', 'a'],
    ['a chunk that is longer than its size', [chunkedHead, '1\r\nab\r\n'], 'keep', 'a'],
  ];
  for (const [name, pieces, end, body] of ends) {
    test(`ends with ${name}`, async () => assert.equal(await streamOf(pieces, end), body));
  }

  test('is read to its end where more comes at once than Node would hold', async () => {
    const event = `${'x'.repeat(1 << 16)}\n`;
    const chunk = `${event.length.toString(16)}\r\n${event}\r\n`;
    assert.equal(await streamOf([chunkedHead + chunk.repeat(20), '0\r\n\r\n'], 'keep'), event.repeat(20));
  });

  test('that is refused is none: the body is the reason', async () => {
    const words = '{"message":"no such filter"}';
    const refused = `HTTP/1.1 400 Bad Request\r\nContent-Length: ${words.length}\r\n\r\n`;
    await assert.rejects(streamOf([refused, words], 'keep'), /status 400: no such filter/);
  });

  test('goes past the parser of Node', async () => {
    let more = (): void => {};
    const slow: http.RequestListener = (_, answer) => {
      answer.writeHead(200).flushHeaders();
      more = () => void answer.write('event');
    };
    await withEngine(slow, async ({ endpoint }) => {
      const seen = { byUs: 0, byNode: 0 };
      const onBody = (bytes: Buffer) => {
        seen.byUs += bytes.length;
      };
      const call = new ModemCall(endpoint, { ...limits, onBody });
      const answer = await withoutEnvironment(() => new Dockerode(call.options)).getEvents({ since: 0 });
      answer.on('data', (bytes: Buffer) => {
        seen.byNode += bytes.length;
      });
      more();
      await eventually(() => assert.deepEqual(seen, { byUs: 5, byNode: 0 }));
      call.abort();
      await call.ended;
    });
  });
});
