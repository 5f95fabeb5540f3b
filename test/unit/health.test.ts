/** `discover health` against a small server in the agent's place: whom it asks, and what it makes of the answer. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os, { networkInterfaces } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { Io } from '../../src/commands/command.ts';
import { health } from '../../src/commands/health.ts';

interface Endpoint extends AsyncDisposable {
  readonly port: number;
  /** Path and Host header of what was asked. */
  readonly asked: readonly string[];
}

async function serve(answer: http.RequestListener, listen: object = { host: '127.0.0.1', port: 0 }): Promise<Endpoint> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.host}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(listen, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const says =
  (status: number, text: string): http.RequestListener =>
  (_, response) =>
    response.writeHead(status).end(text);

async function check(listen: string, flags: { ready?: boolean } = {}, name = 'DISCOVER_HTTP_LISTEN') {
  let [out, err] = ['', ''];
  const io: Io = {
    stdin: Readable.from([]),
    isTerminal: false,
    write: (text) => {
      out += text;
    },
    warn: (text) => {
      err += text;
    },
  };
  const code = await health.run({ flags, words: [], sources: { env: { [name]: listen } } }, io);
  return { code, out, err };
}

test('health prints what it is told and ends with 0 for well and 1 for not, of /healthz or of /readyz (simulated agent)', async () => {
  await using agent = await serve((request, response) =>
    request.url === '/healthz' ? response.end('ok') : response.writeHead(503).end('lease: none yet\ndocker: ok\n'),
  );
  assert.deepEqual(await check(String(agent.port)), { code: 0, out: 'ok\n', err: '' });
  const notReady = { code: 1, out: 'lease: none yet\ndocker: ok\n', err: '' };
  assert.deepEqual(await check(String(agent.port), { ready: true }), notReady);
  assert.deepEqual(agent.asked, ['GET /healthz localhost', 'GET /readyz localhost']);
});

test('health takes no answer but 200 for well, and says which one it was where it has no text (simulated agent)', async () => {
  for (const status of [204, 302, 404, 500]) {
    await using agent = await serve(says(status, ''));
    assert.deepEqual(await check(String(agent.port)), { code: 1, out: `HTTP status ${status}\n`, err: '' });
  }
});

test('health asks who listens everywhere at loopback, of the same family (simulated agent)', async () => {
  const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));
  for (const [host, written] of [['127.0.0.1', '0.0.0.0'], ...(hasIpv6 ? [['::1', '[::]']] : [])]) {
    const agent = await serve(says(200, 'ok'), { host, port: 0 });
    const listen = `${written}:${agent.port}`;
    assert.equal((await check(listen)).code, 0, listen);
    await agent[Symbol.asyncDispose]();
    // Linux would take the one for the other, other systems do not.
    await assert.rejects(check(listen), {
      code: 'AGENT_UNAVAILABLE',
      message: new RegExp(` at ${host}:${agent.port} `),
    });
  }
});

test('health asks at a socket (simulated agent)', async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-health-'));
  try {
    const socket = path.join(directory, 'http.sock');
    await using _agent = await serve(says(200, 'ok'), { path: socket });
    assert.equal((await check(socket)).code, 0);
    await assert.rejects(check(`${socket}-`), { code: 'AGENT_UNAVAILABLE', message: /http\.sock- .*ENOENT/ });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('health gives up on an agent that accepts and says nothing, or that begins and does not end (simulated agent)', async () => {
  await using silent = await serve(() => {});
  await using endless = await serve((_, response) => {
    response.write('o');
  });
  await Promise.all(
    [silent, endless].map(({ port }) =>
      assert.rejects(check(String(port)), {
        code: 'AGENT_UNAVAILABLE',
        message: /http\.listen.*: nothing within 2 s$/,
      }),
    ),
  );
});

test('health prints a page of what is said, and nothing that steers a terminal (simulated agent)', async () => {
  await using agent = await serve(says(500, `\u001b[2J\u202e${'x'.repeat(100_000)}`));
  const { code, out } = await check(String(agent.port));
  assert.equal(code, 1);
  assert.ok(out.length < 5000 && out.includes('xxx') && !/[\u001b\u202e]/.test(out), JSON.stringify(out.slice(0, 80)));
});

test('health names the option where it is not set', async () => {
  await assert.rejects(check('', {}, 'OTHER'), {
    code: 'CONFIG_INVALID',
    message: /^Cannot use the configuration:\n {2}http\.listen must be set/,
  });
});
