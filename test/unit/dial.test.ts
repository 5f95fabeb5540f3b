/** Which of the published addresses accept a connection. */
import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { dialAll, dialSummary } from '../../src/commands/dial.ts';

const below = '/discover/service/';
const keyOf = (index: number): string => `${below}web/default/h1/${index.toString(16).padStart(12, '0')}`;

describe('dialAll', () => {
  let connections = 0;
  let most = 0;
  const server = createServer((socket) => {
    most = Math.max(most, ++connections);
    socket.on('close', () => connections--).on('error', () => {});
  });
  before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  after(() => server.close());
  const here = () => `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const limits = { atOnce: 4, eachMs: 60_000, allMs: 60_000 };

  test('says fine and refused, and passes over what is no TCP address', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const dialled = await dialAll(below, [
      [keyOf(3), `tcp://127.0.0.1:${port}`],
      [keyOf(1), `tcp://${here()}`],
      [`${keyOf(1)}:ip6`, `tcp://${here()}`],
      [keyOf(2), `udp://${here()}`],
      ['/discover/host/h1/000000000001', '{}'],
    ]);
    assert.deepEqual(
      dialled.map(({ key, container, outcome }) => [key.split('/').at(-1), container, outcome]),
      [
        ['000000000001', '000000000001', 'fine'],
        ['000000000001:ip6', '000000000001', 'fine'],
        ['000000000003', '000000000003', 'refused'],
      ],
    );
    assert.equal(dialSummary(dialled), '1 refused, 2 fine');
    assert.equal(dialSummary([]), '0 fine');
  });

  test('says closed where the connection ends at once without a byte, and fine where there is one', async () => {
    const proxy = createServer((socket) => socket.destroy());
    const greeting = createServer((socket) => socket.end('220 ready'));
    for (const [one, expected] of [
      [proxy, 'closed'],
      [greeting, 'fine'],
    ] as const) {
      await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
      const { port } = one.address() as AddressInfo;
      const [dialled] = await dialAll(below, [[keyOf(1), `tcp://127.0.0.1:${port}`]]);
      assert.equal(dialled?.outcome, expected);
      await new Promise((resolve) => one.close(resolve));
    }
  });

  test('has a limit of connections, and of time for each and for all', async () => {
    const many = Array.from({ length: 40 }, (_, index) => [keyOf(index), `tcp://${here()}`] as const);
    const dialled = await dialAll(below, many, limits);
    assert.equal(dialSummary(dialled), '40 fine');
    assert.ok(most <= limits.atOnce + 1, `${most} at once`);
    assert.equal(dialSummary(await dialAll(below, many, { ...limits, allMs: 0 })), '40 not tried, 0 fine');
  });
});
