/** What may be asked of an engine, and that neither client of it can ask for more. Simulated engine: node:http. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/actor/clock.ts';
import type { ContainerId } from '../../src/container/container.ts';
import { askList } from '../../src/docker/call.ts';
import { DockerClient, type DockerEndpoint } from '../../src/docker/docker.ts';
import { InspectClient } from '../../src/docker/inspect-client.ts';
import { requestPath } from '../../src/docker/request-path.ts';

const id = 'a'.repeat(64);

describe('the paths that may be asked for', () => {
  test('are five, with a version before them or without', () => {
    const paths = [
      '/_ping',
      '/version',
      '/events?since=1&filters=%7B%22a%22%3A1%7D',
      '/containers/json',
      '/containers/json?all=1',
      '/containers/json?filters=%7B%22status%22%3A%5B%22running%22%5D%7D',
      "/containers/json?filters=%7B%22name%22%3A%5B%22%5Eweb-(a%7Cb).*!~'%22%5D%7D",
      "/events?since=1&filters=%7B%22label%22%3A%5B%22a%3D(b)*!~'%22%5D%7D",
    ];
    for (const one of [...paths, `/containers/${id}/json`]) {
      assert.equal(requestPath('', one), one);
      assert.equal(requestPath('/v1.41', one), `/v1.41${one}`);
    }
  });

  test('are none that tell more, change anything, or are written in another way', () => {
    const others = [
      ...[
        '/',
        '/info',
        '/images/json',
        '/containers/json?all=2',
        '/containers/json?all=1&size=1',
        '/containers/json?filters=%7B%7D&size=1',
        `/containers/${id}/export`,
        `/containers/${id}`,
      ],
      ...['/containers/create', `/containers/${id}/logs?stdout=1`, `/containers/${id}/archive?path=/`, '/secrets'],
      ...['/containers/abcdef012345/json', '/containers/web/json', `/containers/${id.toUpperCase()}/json`],
      ...[
        `/containers/${id}/json\n`,
        `/containers/${id}/../json`,
        '/events',
        '/events?a/b',
        '/events?a b',
        '//version',
      ],
      ...[
        `/containers/${id}/json HTTP/1.1\r\n\r\nPOST /containers/create`,
        '/%5fping',
        '/_ping#',
        'http://host/version',
      ],
    ];
    for (const one of others) {
      assert.throws(() => requestPath('', one), /^Error: Path must be one of the five/, one);
      assert.throws(() => requestPath('/v1.41', one), /^Error: Path must be/, one);
    }
    for (const prefix of ['v1.41', '/v1', '/v1.41/..', '/v1.41\r\n', '/v1.41 ', '/v1.41.x', '/1.41', '/containers']) {
      assert.throws(() => requestPath(prefix, '/version'), /^Error: Path must be/, prefix);
    }
  });
});

test('the rule for a socket proxy in SECURITY.md lets these through and no others', () => {
  const text = readFileSync(new URL('../../.github/SECURITY.md', import.meta.url), 'utf8');
  const rule = new RegExp(/^ {4}(\^.*\$)$/m.exec(text)?.[1] ?? 'There is no rule');
  const paths = ['/_ping', '/version', '/events', '/containers/json', `/containers/${id}/json`];
  for (const one of paths.flatMap((path) => [path, `/v1.41${path}`])) assert.match(one, rule);
  const others = [
    ...['/', '/info', '/containers/create', `/containers/${id}`, `/containers/${id}/export`, '/containers/web/json'],
    ...[`/containers/${id}/logs`, `/containers/${id}/archive`, `/containers/${id}/json/..`, `/images/${id}/json`],
  ];
  for (const one of others.flatMap((path) => [path, `/v1.41${path}`])) assert.doesNotMatch(one, rule);
});

/** An engine that says it speaks `version` and notes what it is asked for. */
async function withEngine(version: string, use: (endpoint: DockerEndpoint, asked: string[]) => Promise<void>) {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const body = request.url?.endsWith('/version') ? { ApiVersion: version, MinAPIVersion: version } : [];
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use({ kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port }, asked);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

describe('the clients of an engine', () => {
  const hostile = '1.40.x/../../images/json?a= HTTP/1.1\r\nHost: x\r\n\r\nDELETE /v1.40/containers/web?b=';
  test('take no path from what an engine calls its version', async () => {
    await withEngine(hostile, async (endpoint, asked) => {
      const client = new DockerClient(endpoint, undefined, systemClock);
      const engine = await client.negotiate();
      assert.equal(engine.versionPrefix, '');
      await askList(endpoint, systemClock, engine.versionPrefix);
      assert.deepEqual(asked.sort(), [
        'GET /_ping',
        `GET /containers/json?filters=${encodeURIComponent('{"status":["running","paused"]}')}`,
        'GET /version',
      ]);
    });
  });

  test('send nothing for a version or an id that makes another path', async () => {
    await withEngine('1.41', async (endpoint, asked) => {
      const about = { serverVersion: '', product: 'Docker Engine' as const, engineSeconds: 0 };
      const client = new DockerClient(endpoint, undefined, systemClock);
      const inspects = new InspectClient(endpoint);
      for (const prefix of ['/images', '/v1.41/..', `/v${hostile}`]) {
        await assert.rejects(askList(endpoint, systemClock, prefix), /Path must be/);
        await assert.rejects(
          async () => client.events({ ...about, versionPrefix: prefix }, 0, () => {}),
          /Path must be/,
        );
        await assert.rejects(inspects.inspect(prefix, id as ContainerId), /Path must be/);
      }
      for (const name of ['web', 'a'.repeat(12), `${id}/export?x=`, `${id}\r\n`]) {
        await assert.rejects(inspects.inspect('/v1.41', name as ContainerId), /Path must be/);
      }
      assert.deepEqual(asked, []);
      await inspects.inspect('/v1.41', id as ContainerId);
      assert.deepEqual(asked, [`GET /v1.41/containers/${id}/json`]);
      await inspects.close();
    });
  });

  test('are two, and nothing else in the program opens a connection to one', () => {
    const src = fileURLToPath(new URL('../../src', import.meta.url));
    const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    const holding = (pattern: RegExp) =>
      files.filter((file) => pattern.test(readFileSync(path.join(src, file), 'utf8')));
    assert.deepEqual(holding(/\bnew (?:Dockerode|DockerModem)\(/).sort(), ['docker/docker.ts', 'docker/modem.ts']);
    // That of modem.ts is for a request of Node's that has passed its gate: the connection is opened behind it.
    const opening = ['docker/modem.ts', 'net/http1/client.ts', 'net/http2/client.ts', 'net/socket.ts'];
    assert.deepEqual(holding(/\bopenSocket\(/).sort(), opening);
    assert.deepEqual(holding(/new Http1Client\(/), ['docker/inspect-client.ts']);
    assert.deepEqual(holding(/new Http2Client\(/), ['etcd/commit-call.ts']);
    // The endpoint and DNS listen, commands such as `discover health` ask the endpoint, and `--dial` asks what is published. A UDP socket of
    // host-address.ts asks the kernel for a route.
    const ownEnd = ['commands/agent.ts', 'commands/dial.ts', 'dns/server.ts', 'host-address.ts', 'http/server.ts'];
    const network = /^import (?!type |{ (?:BlockList, )?isIP(?:v6)? }).*'node:(?:http|https|http2|net|tls|dgram)'/m;
    assert.deepEqual(holding(network).sort(), [...ownEnd, 'docker/modem.ts', 'net/socket.ts'].sort());
    // The metadata service of EC2, on EC2 only; and `discoverFetch`, for programs.
    assert.deepEqual(holding(/\bfetch\(/).sort(), ['client/http.ts', 'host.ts']);
  });
});
