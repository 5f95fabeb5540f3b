/** Calls as a whole: how many at a time, flow control both ways, a server that goes away, time limits. Against a server of raw frames. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, test } from 'node:test';
import { Http2Client } from '../../src/net/http2/client.ts';
import { Connection } from '../../src/net/http2/connection.ts';
import type { CallError, RequestHead } from '../../src/net/http2/port.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  ack,
  answer,
  end,
  endHeaders,
  frame,
  greeting,
  ok,
  type Peer,
  settings,
  startFrameServer,
  type,
  uint32,
} from '../helpers/frame-server.ts';

const head: RequestHead = { method: 'POST', path: '/x', fields: [['te', 'trailers']] };
const long = (size: number) => Buffer.alloc(size, 'x');
const a = Buffer.from('a');
const guardMs = 20_000;

/** The error of a call, or what it was answered. */
const outcomeOf = (call: Promise<{ readonly body: Buffer }>): Promise<string | CallError> =>
  call.then(
    ({ body }) => body.toString(),
    (error: CallError) => error,
  );
const failed = (outcome: string | CallError | undefined): [string, boolean] => {
  assert.ok(outcome instanceof Error, `Answered: ${String(outcome)}`);
  return [outcome.failure, outcome.isUnprocessed];
};
const bodyBytes = ({ received }: Peer, id: number): number =>
  received.reduce((sum, one) => sum + (one.type === type.data && one.id === id ? one.payload.length : 0), 0);

describe('how many calls a server takes at a time (5.1.2)', () => {
  test('no more are sent, and each is once there is a place', async () => {
    const open = new Set<number>();
    let most = 0;
    let requests = 0;
    await using server = await startFrameServer(
      (peer, id, body) => {
        requests++;
        setImmediate(() => {
          open.delete(id);
          peer.send(answer(id, body));
        });
      },
      {
        greeting: Buffer.concat([frame(type.settings, 0, 0, settings({ 3: 2, 4: 1 << 20 })), greeting]),
        onFrame: (_, one) => {
          if (one.type === type.headers) most = Math.max(most, open.add(one.id).size);
        },
      },
    );
    const client = new Http2Client(server.url);
    assert.equal(await outcomeOf(client.call(head, a, guardMs)), 'a');
    const bodies = Array.from({ length: 50 }, (_, index) => `call ${index}`);
    const answers = await Promise.all(bodies.map((body) => outcomeOf(client.call(head, Buffer.from(body), guardMs))));
    assert.deepEqual(answers, bodies);
    assert.deepEqual([most, requests, server.peers.length], [2, 51, 1]);
    client.close();
  });

  test('a server that takes none has the call wait for its time limit; one that takes some later has it sent', async () => {
    let requests = 0;
    let peer: Peer | undefined;
    await using server = await startFrameServer(
      (to, id, body) => {
        requests++;
        to.send(answer(id, body));
      },
      {
        onFrame: (to) => {
          peer = to;
        },
      },
    );
    const client = new Http2Client(server.url);
    await client.call(head, a, guardMs);
    const isAcknowledged = (count: number) => () =>
      assert.equal(peer?.received.filter((one) => one.type === type.settings && one.flags === ack).length, count);
    peer?.send(frame(type.settings, 0, 0, settings({ 3: 0 })));
    await eventually(isAcknowledged(2));
    const waiting = outcomeOf(client.call(head, Buffer.from('b'), guardMs));
    peer?.send(frame(type.settings, 0, 0));
    await eventually(isAcknowledged(3));
    assert.equal(requests, 1);
    peer?.send(frame(type.settings, 0, 0, settings({ 3: 1 })));
    assert.equal(await waiting, 'b');
    peer?.send(frame(type.settings, 0, 0, settings({ 3: 0 })));
    await eventually(isAcknowledged(5));
    assert.deepEqual(failed(await outcomeOf(client.call(head, a, 50))), ['timeout', false]);
    client.close();
  });
});

describe('the windows of the server (5.2, 6.9)', () => {
  /** Takes every byte of the body, with windows opened by `by` bytes at a time, of the stream first or of the connection. */
  const windows: Record<string, { readonly first: number; readonly frameBytes: number }> = {
    'of the size that holds at first': { first: 65_535, frameBytes: 16_384 },
    'of nothing': { first: 0, frameBytes: 16_384 },
    'of a byte': { first: 1, frameBytes: 16_384 },
    'of a large size, in large frames': { first: 1 << 20, frameBytes: 1 << 20 },
  };
  for (const [what, { first, frameBytes }] of Object.entries(windows)) {
    test(`windows ${what} let through so much, and all in the end`, async () => {
      const sizes = [0, 1, 16_384, 65_535, 65_536, 300_000];
      let [taken, allowed, largest] = [0, 65_535, 0];
      await using server = await startFrameServer((peer, id, body) => peer.send(answer(id, String(body.length))), {
        greeting: frame(type.settings, 0, 0, settings({ 4: first, 5: frameBytes })),
        onFrame: (peer, one) => {
          if (one.type === type.headers) peer.send(frame(type.windowUpdate, 0, one.id, uint32(300_000)));
          if (one.type !== type.data) return;
          taken += one.payload.length;
          largest = Math.max(largest, one.payload.length);
          assert.ok(taken <= allowed, 'More than the window of the connection');
          if (taken < allowed) return;
          allowed += 50_000;
          peer.send(frame(type.windowUpdate, 0, 0, uint32(50_000)));
        },
      });
      const client = new Http2Client(server.url);
      // The first call may go out before the settings are known.
      await client.call(head, a, guardMs);
      const answers = await Promise.all(sizes.map((size) => outcomeOf(client.call(head, long(size), guardMs))));
      assert.deepEqual(answers, sizes.map(String));
      assert.ok(largest <= frameBytes, `A frame of ${largest} bytes`);
      client.close();
    });
  }

  test('a window that shrinks below zero holds the body until it is above zero again', async () => {
    let peer: Peer | undefined;
    await using server = await startFrameServer((to, id, body) => to.send(answer(id, String(body.length))), {
      greeting: frame(type.settings, 0, 0, settings({ 4: 65_535 })),
      onFrame: (to) => {
        peer = to;
      },
    });
    const client = new Http2Client(server.url);
    await client.call(head, a, guardMs);
    const call = outcomeOf(client.call(head, long(100_000), guardMs));
    // The connection has given a byte already.
    await eventually(() => assert.equal(peer && bodyBytes(peer, 3), 65_534));
    peer?.send(
      frame(type.settings, 0, 0, settings({ 4: 10 })),
      frame(type.windowUpdate, 0, 0, uint32(1 << 20)),
      frame(type.windowUpdate, 0, 3, uint32(65_524)),
      frame(type.ping, 0, 0, long(8)),
    );
    await eventually(() =>
      assert.ok(
        peer?.received.some((one) => one.type === type.ping),
        'No reply',
      ),
    );
    assert.equal(peer && bodyBytes(peer, 3), 65_534);
    peer?.send(frame(type.windowUpdate, 0, 3, uint32(1)));
    await eventually(() => assert.equal(peer && bodyBytes(peer, 3), 65_535));
    peer?.send(frame(type.windowUpdate, 0, 3, uint32(100_000)));
    assert.equal(await call, '100000');
    client.close();
  });

  test('an answer that comes before the whole request is taken, and the rest of the request is not sent', async () => {
    await using server = await startFrameServer(() => {}, {
      greeting: frame(type.settings, 0, 0, settings({ 4: 100 })),
      onFrame: (peer, one) => {
        if (one.type === type.headers) peer.send(answer(one.id, 'early'), frame(type.reset, 0, one.id, uint32(0)));
      },
    });
    const client = new Http2Client(server.url);
    assert.equal(await outcomeOf(client.call(head, long(100_000), guardMs)), 'early');
    assert.equal(await outcomeOf(client.call(head, long(100_000), guardMs)), 'early');
    assert.equal(server.peers.length, 1);
    client.close();
  });
});

describe('the windows of this side (5.2)', () => {
  test('open anew, for a stream and for the connection, as long as answers come', async () => {
    const size = 1 << 20;
    // 600 MiB in all would open the connection's; that is a matter of counting, not of bytes.
    let updates = 0;
    await using server = await startFrameServer(
      (peer, id) => {
        peer.send(frame(type.headers, endHeaders, id, ok));
        for (let at = 0; at < size; at += 16_384) peer.send(frame(type.data, 0, id, long(16_384)));
        peer.send(frame(type.data, end, id));
      },
      {
        onFrame: (_, one) => {
          if (one.type === type.windowUpdate && one.id > 0) updates++;
        },
      },
    );
    const client = new Http2Client(server.url);
    for (let turn = 0; turn < 5; turn++) {
      assert.equal((await client.call(head, a, guardMs)).body.length, size);
    }
    assert.ok(updates >= 5, `${updates} updates`);
    client.close();
  });

  test('a server that sends more than the window of the connection is shut out, padding counted', () => {
    const sent: Buffer[] = [];
    let ended: Buffer | undefined;
    const connection = new Connection({
      write: (bytes) => void sent.push(bytes),
      end: (last) => {
        ended = last;
      },
    });
    connection.receive(greeting);
    let failure: CallError | undefined;
    connection.call(Buffer.from([0x82]), a, (error) => {
      failure = error;
    });
    connection.receive(frame(type.headers, endHeaders, 1, ok));
    // Padding uses up the window, though the body stays empty; the client opens the window for it as for data.
    const padding = frame(type.data, 0x8, 1, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)]));
    for (let count = 0; count < 10_000; count++) connection.receive(padding);
    assert.equal(ended, undefined, failure?.message);
    assert.ok(
      sent.some((bytes) => bytes[3] === type.windowUpdate && bytes.readUInt32BE(5) === 1),
      'No update',
    );
  });
});

describe('a server that goes away (6.8)', () => {
  test('answers what it has taken; calls above that are unprocessed, and the next goes over a new connection', async () => {
    const held: number[] = [];
    await using server = await startFrameServer((peer, id, body) => {
      if (peer !== server.peers[0]) return peer.send(answer(id, body));
      held.push(id);
      if (held.length < 3) return;
      peer.send(frame(type.goAway, 0, 0, Buffer.concat([uint32(3, 11), Buffer.from('too_many_pings')])));
      peer.send(answer(3, 'taken'), answer(1, 'taken as well'));
    });
    const client = new Http2Client(server.url);
    const calls = ['1', '3', '5'].map((body) => outcomeOf(client.call(head, Buffer.from(body), guardMs)));
    const [first, second, third] = await Promise.all(calls);
    assert.deepEqual([first, second], ['taken as well', 'taken']);
    assert.deepEqual(failed(third), ['connection', true]);
    assert.match(String(third), /enhance your calm, code 11: too_many_pings/);
    assert.equal(await outcomeOf(client.call(head, Buffer.from('next'), guardMs)), 'next');
    assert.equal(server.peers.length, 2);
    await eventually(() => assert.ok(server.peers[0]?.socket.destroyed, 'The first connection is open'));
    client.close();
  });

  test('lowers what it has taken in a second GOAWAY', async () => {
    await using server = await startFrameServer((peer, id) => {
      if (id === 3)
        peer.send(frame(type.goAway, 0, 0, uint32(2 ** 31 - 1, 0)), frame(type.goAway, 0, 0, uint32(1, 0)), answer(1));
    });
    const client = new Http2Client(server.url);
    const calls = [outcomeOf(client.call(head, a, guardMs)), outcomeOf(client.call(head, a, guardMs))];
    const [first, second] = await Promise.all(calls);
    assert.equal(first, 'ok');
    assert.deepEqual(failed(second), ['connection', true]);
    client.close();
  });

  test('has calls that wait for a place fail as unprocessed', async () => {
    await using server = await startFrameServer(
      (peer, id) => {
        if (id === 3) peer.send(frame(type.goAway, 0, 0, uint32(3, 0)), answer(3, 'last'));
        else peer.send(answer(id));
      },
      { greeting: Buffer.concat([frame(type.settings, 0, 0, settings({ 3: 1 })), greeting]) },
    );
    const client = new Http2Client(server.url);
    await client.call(head, a, guardMs);
    const [first, second] = await Promise.all([
      outcomeOf(client.call(head, a, guardMs)),
      outcomeOf(client.call(head, a, guardMs)),
    ]);
    assert.equal(first, 'last');
    assert.deepEqual(failed(second), ['connection', true]);
    client.close();
  });

  test('or cuts the connection: calls under way may have been processed', async () => {
    await using server = await startFrameServer((peer) => peer.socket.destroy());
    const client = new Http2Client(server.url);
    assert.deepEqual(failed(await outcomeOf(client.call(head, a, guardMs))), ['connection', false]);
    client.close();
  });

  test('or listens no more: the call was not sent', async () => {
    const server = await startFrameServer(() => {});
    await server[Symbol.asyncDispose]();
    const client = new Http2Client(server.url);
    assert.deepEqual(failed(await outcomeOf(client.call(head, a, guardMs))), ['connection', true]);
  });
});

describe('a time limit', () => {
  test('ends a call and its connection, whatever the server does in the meantime', async () => {
    const silences: Record<string, (peer: Peer, id: number) => void> = {
      'says nothing': () => {},
      'answers half': (peer, id) => peer.send(frame(type.headers, endHeaders, id, ok), frame(type.data, 0, id, 'o')),
      'sends half a frame': (peer, id) => peer.send(answer(id).subarray(0, 12)),
      'opens windows': (peer, id) => peer.send(frame(type.windowUpdate, 0, id, uint32(1))),
    };
    for (const [what, say] of Object.entries(silences)) {
      await using server = await startFrameServer((peer, id, body) => {
        if (body.equals(a)) say(peer, id);
        else peer.send(answer(id));
      });
      const client = new Http2Client(server.url);
      assert.deepEqual(failed(await outcomeOf(client.call(head, a, 50))), ['timeout', false], what);
      assert.equal(await outcomeOf(client.call(head, Buffer.from('b'), guardMs)), 'ok', what);
      const requests = server.peers.at(-1)?.received.filter((one) => one.type === type.headers);
      assert.equal(requests?.length, 1, `${what}: not a new connection`);
      client.close();
    }
  });

  test('holds where the connection forgets the call', async (context) => {
    await using server = await startFrameServer(() => {});
    const client = new Http2Client(server.url);
    // As bad as bookkeeping can get: the call is taken and never spoken of again.
    context.mock.method(Connection.prototype, 'call', () => {});
    context.mock.method(Connection.prototype, 'fail', () => {});
    assert.deepEqual(failed(await outcomeOf(client.call(head, a, 50))), ['timeout', false]);
  });

  test('holds while the connection is being opened', async () => {
    // Its backlog is full: connections to it wait.
    const server = net.createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, resolve));
    const { port } = server.address() as net.AddressInfo;
    const client = new Http2Client(`http://127.0.0.1:${port}`);
    assert.deepEqual(failed(await outcomeOf(client.call(head, a, 50))), ['timeout', false]);
    client.close();
    server.close();
  });
});

describe('a client that is closed', () => {
  test('has its calls fail, those on a connection that goes away too, and opens a new connection for the next', async () => {
    let requests = 0;
    await using server = await startFrameServer((peer, id) => {
      requests++;
      if (requests === 1) peer.send(frame(type.goAway, 0, 0, uint32(id, 0)));
      if (requests === 3) peer.send(answer(id));
    });
    const client = new Http2Client(server.url);
    const first = outcomeOf(client.call(head, a, guardMs));
    await eventually(() => assert.equal(requests, 1));
    await eventually(async () => {
      if (server.peers.length === 1) void outcomeOf(client.call(head, a, guardMs));
      assert.equal(server.peers.length, 2);
    });
    client.close();
    assert.deepEqual(failed(await first), ['connection', false]);
  });
});

test('a peer that reads no replies is shut out, and its replies fill no memory', () => {
  let ended: Buffer | undefined;
  let written = 0;
  // A wire whose other side reads nothing: no write is ever done.
  const connection = new Connection({
    write: (bytes) => {
      written += bytes.length;
    },
    end: (last) => {
      ended = last;
    },
  });
  connection.receive(greeting);
  for (let count = 0; count < 2_000 && ended === undefined; count++)
    connection.receive(frame(type.ping, 0, 0, long(8)));
  assert.equal(ended?.readUInt32BE(13), 11);
  assert.ok(written < 100_000, `${written} bytes`);
});

test('a header block above the size of a frame goes out in several', async () => {
  const value = 'x'.repeat(40_000);
  await using server = await startFrameServer((peer, id) => peer.send(answer(id)));
  const client = new Http2Client(server.url);
  assert.equal(await outcomeOf(client.call({ ...head, fields: [['a', value]] }, a, guardMs)), 'ok');
  const blocks = server.peers[0]?.received.filter((one) => one.type === type.headers || one.type === type.continuation);
  assert.deepEqual(
    blocks?.map((one) => [one.type, one.flags]),
    [
      [type.headers, 0],
      [type.continuation, 0],
      [type.continuation, endHeaders],
    ],
  );
  assert.ok(Buffer.concat(blocks?.map(({ payload }) => payload) ?? []).includes(value), 'Not the value');
  client.close();
});

test('a table that the server makes smaller is announced as empty at the beginning of the next block, once', async () => {
  await using server = await startFrameServer((peer, id) => {
    if (id === 1) peer.send(frame(type.settings, 0, 0, settings({ 1: 100 })));
    peer.send(answer(id));
  });
  const client = new Http2Client(server.url);
  for (let turn = 0; turn < 3; turn++) await client.call(head, a, guardMs);
  const blocks = server.peers[0]?.received.filter((one) => one.type === type.headers) ?? [];
  assert.deepEqual(
    blocks.map(({ payload }) => payload[0]),
    [0x83, 0x20, 0x83],
  );
  client.close();
});
