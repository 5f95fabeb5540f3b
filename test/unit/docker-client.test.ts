/** What the client of the engine makes of answers that are not what was asked for. Simulated engine: node:http. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type Clock, systemClock } from '../../src/actor/clock.ts';
import { askList } from '../../src/docker/call.ts';
import { DockerClient } from '../../src/docker/docker.ts';
import { codeOf, messageOf } from '../../src/errors.ts';
import { eventually } from '../helpers/eventually.ts';

const engine = { versionPrefix: '/v1.41', serverVersion: '', product: 'Docker Engine' as const, engineSeconds: 0 };

const answers: readonly (readonly [name: string, status: number, body: string, said: string])[] = [
  ['says why', 400, '{"message":"client version is too new"}', 'status 400: client version is too new'],
  ['is a page', 502, '<html>secret</html>', 'status 502'],
  ['is a list that belongs to nobody', 500, '[{"Labels":{"token":"secret"}}]', 'status 500'],
  ['is a list that was cut', 503, '[{"Labels":{"token":"secret"', 'status 503'],
  ['has no text for a message', 500, '{"message":{"token":"secret"}}', 'status 500'],
  ['is null', 500, 'null', 'status 500'],
  ['is empty', 404, '', 'status 404'],
  ['is larger than anything an engine says', 500, `{"message":"${'secret'.repeat(20_000)}"}`, 'status 500'],
  ['leads elsewhere', 302, '{"message":"Found"}', 'status 302: Found'],
];

for (const [name, status, body, said] of answers) {
  test(`a refusal that ${name} is told by its status and the engine's own word alone`, async () => {
    let asked = 0;
    const server = http.createServer((_, response) => {
      asked++;
      response.writeHead(status, { location: '/containers/create' }).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const endpoint = { kind: 'tcp', host: '127.0.0.1', port } as const;
      const client = new DockerClient(endpoint, undefined, systemClock);
      const expected = (error: unknown): boolean => {
        assert.equal(codeOf(error), 'DOCKER_UNAVAILABLE');
        assert.equal(messageOf(error), `Docker Engine: ${said}`);
        return true;
      };
      await assert.rejects(askList(endpoint, systemClock, engine.versionPrefix), expected);
      await assert.rejects(
        client.events(engine, 0, () => {}),
        expected,
      );
      // Who answers is there, also where a proxy withholds what it is.
      if (status === 404) assert.equal((await client.negotiate()).versionPrefix, '');
      else await assert.rejects(client.negotiate(), expected);
      assert.equal(asked, 4);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
}

test('a filter by labels is for starts alone: all other events come on a connection of their own, and both end together', async () => {
  const asked: { type: string[]; event: string[]; label?: string[] }[] = [];
  const open: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://engine');
    asked.push(JSON.parse(url.searchParams.get('filters') ?? '{}') as (typeof asked)[0]);
    open.push(response);
    response.writeHead(200).write(`{"number":${open.length}}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const endpoint = { kind: 'tcp', host: '127.0.0.1', port } as const;
    const seen: string[] = [];
    const onChunk = (chunk: Buffer, connection = 0) => void seen.push(`${connection} ${chunk}`);
    const plain = await new DockerClient(endpoint, undefined, systemClock).events(engine, 0, onChunk);
    await eventually(() => assert.deepEqual(seen.splice(0), ['0 {"number":1}']));
    plain.close();
    const [all] = asked.splice(0);
    assert.equal(all?.label, undefined);

    open.length = 0;
    seen.length = 0;
    const labels = ["tier=we'b (1)", 'a=b'];
    const stream = await new DockerClient(endpoint, undefined, systemClock, labels).events(engine, 0, onChunk);
    await eventually(() => assert.deepEqual([...seen].sort(), ['0 {"number":1}', '1 {"number":2}']));
    const [starts, others] = asked;
    assert.deepEqual([starts?.type, starts?.label, others?.label], [['container'], labels, undefined]);
    assert.deepEqual([...(starts?.event ?? []), ...(others?.event ?? [])].sort(), [...(all?.event ?? [])].sort());
    assert.deepEqual(others?.type, all?.type);
    const gone = new Promise((resolve) => open[0]?.on('close', resolve));
    open[1]?.destroy();
    await stream.ended;
    await gone;
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('Podman is told by a header of each answer, also where its version is withheld', async () => {
  const server = http.createServer((request, response) => {
    response.setHeader('libpod-api-version', '4.3.1');
    response.writeHead(request.url === '/_ping' ? 200 : 403).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const client = new DockerClient({ kind: 'tcp', host: '127.0.0.1', port }, undefined, systemClock);
    assert.equal((await client.negotiate()).product, 'Podman');
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("Podman's version is in a header of each answer, and nothing waits for /version, which can take seconds", async () => {
  let isGivenUp = false;
  const server = http.createServer((request, response) => {
    if (request.url !== '/_ping') {
      response.on('close', () => {
        isGivenUp = true;
      });
      return;
    }
    response.setHeader('api-version', '1.41').setHeader('libpod-api-version', '5.4.2').end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    let isOver = false;
    const clock: Clock = {
      ...systemClock,
      after: (ms, action) =>
        systemClock.after(ms, () => {
          isOver = true;
          action();
        }),
    };
    const found = await new DockerClient({ kind: 'tcp', host: '127.0.0.1', port }, undefined, clock).negotiate();
    assert.deepEqual([found.product, found.serverVersion, found.versionPrefix], ['Podman', '5.4.2', '/v1.41']);
    await eventually(() => assert.ok(isGivenUp, 'The question is still open'));
    assert.equal(isOver, false, 'The time limit has ended the question');
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("Podman's names of events are asked of every engine that does not say that it is Docker", async () => {
  const docker = { Components: [{ Name: 'Engine' }] };
  const cases: [headers: Record<string, string>, version: object | undefined, isPodmanAsked: boolean][] = [
    [{ server: 'Docker/20.10.24 (linux)' }, undefined, false],
    [{}, docker, false],
    [{}, {}, true],
    [{ server: 'nginx' }, undefined, true],
    [{ 'libpod-api-version': '4.3.1' }, undefined, true],
    [{ server: 'Docker/20.10.24 (linux)' }, { Components: [{ Name: 'Podman Engine' }] }, true],
  ];
  for (const [headers, version, isPodmanAsked] of cases) {
    let asked: string[] = [];
    const server = http.createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://engine');
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      if (url.pathname.endsWith('/events')) {
        asked = (JSON.parse(url.searchParams.get('filters') ?? '{}') as { event: string[] }).event;
        response.writeHead(200).flushHeaders();
      } else if (url.pathname.endsWith('/_ping')) response.end('OK');
      else response.writeHead(version ? 200 : 403).end(JSON.stringify(version ?? {}));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const client = new DockerClient({ kind: 'tcp', host: '127.0.0.1', port }, undefined, systemClock);
      const stream = await client.events(await client.negotiate(), 0, () => {});
      stream.close();
      const names = ['died', 'remove', 'stop', 'restore'];
      assert.deepEqual(
        [names.every((name) => asked.includes(name)), names.some((name) => asked.includes(name))],
        [isPodmanAsked, isPodmanAsked],
        JSON.stringify([headers, version]),
      );
      assert.ok(['start', 'kill', 'die', 'destroy'].every((name) => asked.includes(name)));
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }
});
