/** `discover health` against a small server in the agent's place: whom it asks, and what it makes of the answer. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
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

async function check(listen: string, flags: { ready?: boolean; end?: number } = {}, name = 'DISCOVER_HTTP_LISTEN') {
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

/** A process of its own, which listens and then stands still. */
async function silentProcess(listen: string): Promise<{ readonly pid: number; readonly ended: Promise<unknown[]> }> {
  const script = `require('node:net').createServer().listen(${listen}, () => {
    console.log('listening');
    process.kill(process.pid, 'SIGSTOP');
  })`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return { pid: child.pid ?? 0, ended: once(child, 'exit') };
}

test('health --end ends a process that listens and does not answer, at a port or a path, and says so (real processes)', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dsc-health-'));
  try {
    const spare = await serve(says(200, 'ok'));
    await spare[Symbol.asyncDispose]();
    const socket = path.join(folder, 'a socket');
    for (const [listen, place] of [
      [`{ host: '127.0.0.1', port: ${spare.port} }`, `127.0.0.1:${spare.port}`],
      [JSON.stringify({ path: socket }), socket],
    ] as const) {
      const { pid, ended } = await silentProcess(listen);
      const message = `No discover answers at ${place} (http.listen): nothing within 1 s; process ${pid} was ended`;
      await assert.rejects(check(place, { end: 1 }), { code: 'AGENT_UNAVAILABLE', message });
      assert.deepEqual(await ended, [null, 'SIGKILL']);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('health --end leaves alone an agent that answers in any way, and one that does not listen (simulated agent)', async () => {
  await using agent = await serve(says(503, 'worker: gone'));
  assert.equal((await check(String(agent.port), { end: 1 })).code, 1);
  await agent[Symbol.asyncDispose]();
  await assert.rejects(check(String(agent.port), { end: 1 }), /connect ECONNREFUSED [^;]*$/);
});
