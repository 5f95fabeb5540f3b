/** What an etcd with users says of itself to one that is not root, and what `doctor` and `init` make of it. */
import assert from 'node:assert/strict';
import dns from 'node:dns';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { mock, test } from 'node:test';
import { etcdChecks, statusOf } from '../../src/commands/etcd-checks.ts';
import { Member } from '../../src/etcd/member.ts';
import { defaultConfig } from '../sim/config.ts';

/** A server of gRPC that refuses every call with this status and text. */
async function serve(code: number, text: string) {
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream) => {
    const refusal = { 'grpc-status': String(code), 'grpc-message': text };
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...refusal }, { endStream: true });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const refusals = [
  { code: 7, text: 'etcdserver: permission denied' },
  { code: 3, text: 'etcdserver: user name is empty' },
];

for (const { code, text } of refusals) {
  test(`an etcd that says "${text}" to a question for its status answers (stand-in for etcd)`, async () => {
    await using server = await serve(code, text);
    const member = new Member(server.endpoint, { endpoints: [server.endpoint] });
    try {
      assert.equal(await statusOf(member), undefined);
    } finally {
      member.close();
    }
    const [first, ...others] = await etcdChecks({
      ...defaultConfig,
      etcd: { ...defaultConfig.etcd, endpoints: [server.endpoint] },
    });
    assert.deepEqual([first?.name, first?.state], [`etcd ${server.endpoint}`, 'ok']);
    // What is refused is told by the checks of reads and writes.
    assert.deepEqual(
      others.map(({ name, state }) => [name, state]),
      [
        ['etcd read', 'failed'],
        ['etcd write', 'failed'],
      ],
    );
  });
}

test('another refusal of the status is a failure (stand-in for etcd)', async () => {
  await using server = await serve(12, 'unknown service etcdserverpb.Maintenance');
  const member = new Member(server.endpoint, { endpoints: [server.endpoint] });
  try {
    await assert.rejects(statusOf(member));
  } finally {
    member.close();
  }
});

test('the name of a member is looked up for its address, and DNS is asked for no settings (stand-in for etcd)', async () => {
  await using server = await serve(7, 'etcdserver: permission denied');
  const asked = mock.method(dns.promises, 'resolveTxt', async () => []);
  const endpoint = server.endpoint.replace('127.0.0.1', 'localhost');
  const member = new Member(endpoint, { endpoints: [endpoint] });
  try {
    assert.equal(await statusOf(member), undefined);
    assert.equal(asked.mock.callCount(), 0);
  } finally {
    member.close();
    asked.mock.restore();
  }
});
