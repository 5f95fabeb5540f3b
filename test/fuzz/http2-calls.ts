/**
 * The same calls with the same faults through `Http2Client` and through `node:http2`, against one server of raw
 * frames: the outcomes must be the same.
 *
 * A call's seed travels in its body, and the server makes of it what becomes of the call: answers in every
 * legal shape, resets, malformed answers, and, for a call by itself, a cut, a malformed frame, GOAWAY or
 * silence. Left out is where the two may differ: `node:http2` drops a field with a forbidden value and
 * passes over frames on a stream that is over, both of which RFC 9113 calls errors.
 */
import { Random } from '../../bench/engine/random.ts';
import { Http2Client } from '../../src/net/http2/client.ts';
import type { Answer, CallError, RequestHead, UnaryClient } from '../../src/net/http2/port.ts';
import {
  end,
  endHeaders,
  frame,
  type Peer,
  padded,
  prioritized,
  settings,
  startFrameServer,
  TableEncoder,
  type,
  uint32,
} from '../helpers/frame-server.ts';
import { NodeHttp2Client } from '../helpers/node-http2.ts';

/** What may become of a call, and how often; those of the second table concern the connection and so a call by itself. */
const streamPlans = { answer: 70, empty: 5, refusal: 8, reset: 8, malformed: 9 } as const;
const connectionPlans = { cut: 4, end: 2, frame: 4, unprocessed: 2, goAway: 2, silence: 1 } as const;
type Plan = keyof typeof streamPlans | keyof typeof connectionPlans;

const guardMs = 30_000;
/** Of a call that gets no answer. `node:http2` takes as long for some malformed frames. */
const shortMs = 60;

export interface Difference {
  readonly seed: number;
  readonly plan: Plan;
  readonly outcomes: readonly string[];
}

export interface Comparison {
  readonly calls: number;
  readonly answered: number;
  readonly differences: readonly Difference[];
  /** How many calls of each kind there were. */
  readonly plans: ReadonlyMap<Plan, number>;
}

export async function compareCalls(count: number, firstSeed: number): Promise<Comparison> {
  const encoders = new WeakMap<Peer, TableEncoder>();
  const chains = new WeakMap<Peer, Promise<void>>();
  await using server = await startFrameServer(
    (peer, id, body) => {
      const seed = body.readUInt32BE(0);
      const encoder = encoders.get(peer) ?? new TableEncoder();
      encoders.set(peer, encoder);
      // One after the other, so that what is sent in pieces stays in order.
      const before = chains.get(peer) ?? Promise.resolve();
      chains.set(
        peer,
        before.then(() => respond(peer, id, seed, encoder, body.length)),
      );
    },
    {
      greeting: frame(type.settings, 0, 0, settings({ 3: 4 })),
      onFrame: (peer, one) => {
        if (one.type !== type.data || one.payload.length === 0) return;
        const update = uint32(one.payload.length);
        peer.send(frame(type.windowUpdate, 0, 0, update));
        if ((one.flags & end) === 0) peer.send(frame(type.windowUpdate, 0, one.id, update));
      },
    },
  );
  const clients = [new Http2Client(server.url), new NodeHttp2Client(server.url)];
  const differences: Difference[] = [];
  const plans = new Map<Plan, number>();
  let answered = 0;
  const random = new Random(firstSeed);
  for (let done = 0; done < count; ) {
    const isAlone = random.below(3) === 0;
    const seeds = Array.from({ length: isAlone ? 1 : Math.min(1 + random.below(8), count - done) }, (_, at) => {
      // The highest bit says which table the plan is of.
      return (((firstSeed + done + at) & 0x7fff_ffff) | (isAlone ? 0x8000_0000 : 0)) >>> 0;
    });
    done += seeds.length;
    const outcomes = await Promise.all(
      clients.map((client) => Promise.all(seeds.map((seed) => outcomeOf(client, seed)))),
    );
    for (const [at, seed] of seeds.entries()) {
      const plan = planOf(seed, new Random(seed));
      plans.set(plan, (plans.get(plan) ?? 0) + 1);
      const [ours = '', theirs = ''] = outcomes.map((all) => all[at] ?? '');
      if (ours.startsWith('{')) answered++;
      if (ours !== theirs) differences.push({ seed, plan, outcomes: [ours, theirs] });
    }
  }
  for (const client of clients) client.close();
  return { calls: count, answered, differences, plans };
}

function planOf(seed: number, random: Random): Plan {
  const weights = Object.entries(seed >= 0x8000_0000 ? connectionPlans : streamPlans) as [Plan, number][];
  return oneOf(
    random,
    weights.flatMap(([plan, weight]) => Array.from({ length: weight }, () => plan)),
  );
}

function oneOf<Item>(random: Random, items: readonly Item[]): Item {
  return items[random.below(items.length)] as Item;
}

const head: RequestHead = { method: 'POST', path: '/x', fields: [['te', 'trailers']] };

/** In words that do not depend on who tells it. */
async function outcomeOf(client: UnaryClient, seed: number): Promise<string> {
  const random = new Random(seed);
  const plan = planOf(seed, random);
  const size = random.below(20) === 0 ? random.below(200_000) : random.below(400);
  const body = Buffer.alloc(4 + size, 'x');
  body.writeUInt32BE(seed);
  const isShort = plan === 'silence' || plan === 'frame';
  return client.call(head, body, isShort ? shortMs : guardMs).then(
    (answer: Answer) => {
      const { headers, status, trailers } = answer;
      return JSON.stringify({
        status,
        headers: sorted(headers),
        body: answer.body.toString('base64'),
        trailers: sorted(trailers),
      });
    },
    (error: CallError) => {
      // A time limit that was long is a finding, whoever has it.
      const isLate = error.failure === 'timeout' && !isShort;
      return `failed${error.isUnprocessed ? ', unprocessed' : ''}${isLate ? ', late' : ''}`;
    },
  );
}

function sorted(fields: ReadonlyMap<string, string>): unknown {
  // Node adds up what is repeated, and lets the date through as it is.
  return [...fields].sort(([one], [other]) => (one < other ? -1 : 1));
}

const resetCodes = [0, 1, 2, 3, 5, 7, 7, 8, 11];
const malformedAnswers: readonly ((id: number) => readonly Buffer[])[] = [
  (id) => [fieldsFrame(id, [['a', 'b']], endHeaders)],
  (id) => [
    fieldsFrame(
      id,
      [
        [':status', '200'],
        ['Upper', 'x'],
      ],
      endHeaders,
    ),
  ],
  (id) => [
    fieldsFrame(
      id,
      [
        [':status', '200'],
        ['connection', 'close'],
      ],
      endHeaders,
    ),
  ],
  (id) => [
    fieldsFrame(
      id,
      [
        [':status', '200'],
        ['transfer-encoding', 'chunked'],
      ],
      endHeaders,
    ),
  ],
  (id) => [
    fieldsFrame(
      id,
      [
        [':status', '200'],
        [':status', '200'],
      ],
      endHeaders,
    ),
  ],
  (id) => [
    fieldsFrame(
      id,
      [
        [':status', '200'],
        ['content-length', '7'],
      ],
      endHeaders,
    ),
    frame(type.data, end, id, 'ok'),
  ],
  (id) => [fieldsFrame(id, [[':status', '103']], endHeaders | end)],
  (id) => [fieldsFrame(id, [[':status', '200']], endHeaders), fieldsFrame(id, [[':path', '/']], endHeaders | end)],
  (id) => [fieldsFrame(id, [[':status', '200']], endHeaders), fieldsFrame(id, [['a', 'b']], endHeaders)],
];
const malformedFrames: readonly ((id: number) => readonly Buffer[])[] = [
  (id) => [frame(type.reset, 0, id, 'x')],
  () => [frame(type.ping, 0, 0, 'short')],
  () => [frame(type.settings, 0, 0, 'short')],
  () => [frame(type.settings, 0, 0, settings({ 4: 2 ** 31 }))],
  () => [frame(type.settings, 0, 0, settings({ 5: 1 }))],
  () => [frame(type.windowUpdate, 0, 0, uint32(0))],
  () => [frame(type.windowUpdate, 0, 0, uint32(2 ** 31 - 1))],
  () => [frame(type.data, 0, 0, 'x')],
  (id) => [frame(type.data, 0, id + 2, 'x')],
  (id) => [frame(type.data, 0, id, Buffer.alloc(16_385))],
  (id) => [frame(type.continuation, endHeaders, id, 'x')],
  (id) => [frame(type.headers, endHeaders, id, Buffer.from([0x80]))],
  (id) => [frame(type.headers, 0, id), frame(type.ping, 0, 0, '12345678')],
  (id) => [frame(type.headers, endHeaders, id + 2, '')],
  (id) => [frame(type.headers, endHeaders | padded, id, Buffer.from([9]))],
  (id) => [frame(type.push, endHeaders, id, uint32(2))],
  () => [frame(type.goAway, 0, 0, 'short')],
];

function fieldsFrame(id: number, fields: readonly (readonly [string, string])[], flags: number): Buffer {
  return frame(type.headers, flags, id, literals(fields));
}

/** Short literals that stay out of the table. */
function literals(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    fields.map(([name, value]) =>
      Buffer.from(`\0${String.fromCharCode(name.length)}${name}${String.fromCharCode(value.length)}${value}`, 'latin1'),
    ),
  );
}

async function respond(peer: Peer, id: number, seed: number, encoder: TableEncoder, asked: number): Promise<void> {
  const random = new Random(seed);
  const plan = planOf(seed, random);
  const shape = new Random(seed ^ 0x5bd1_e995);
  if (plan === 'silence') return;
  if (plan === 'unprocessed') return peer.send(frame(type.goAway, 0, 0, uint32(Math.max(0, id - 2), 0)));
  if (plan === 'frame') return peer.send(...oneOf(shape, malformedFrames)(id));
  if (plan === 'malformed') return sendInPieces(peer, Buffer.concat(oneOf(shape, malformedAnswers)(id)), shape);
  if (plan === 'reset') {
    const begun = shape.below(2) === 0 ? [headersOf(id, [[':status', '200']], 0, shape, encoder)] : [];
    return sendInPieces(
      peer,
      Buffer.concat([...begun, frame(type.reset, 0, id, uint32(oneOf(shape, resetCodes)))]),
      shape,
    );
  }
  const whole = Buffer.concat([
    ...(plan === 'goAway' ? [frame(type.goAway, 0, 0, uint32(id, 0))] : []),
    ...answerOf(id, plan, asked, shape, encoder),
  ]);
  if (plan !== 'cut' && plan !== 'end') return sendInPieces(peer, whole, shape);
  await sendInPieces(peer, whole.subarray(0, shape.below(whole.length)), shape);
  if (plan === 'cut') peer.socket.destroy();
  else peer.socket.end();
}

/** An answer in one of its legal shapes, with frames between that do not concern it. */
function answerOf(id: number, plan: Plan, asked: number, shape: Random, encoder: TableEncoder): Buffer[] {
  const status = [':status', oneOf(shape, ['200', '200', '200', '404', '503'])] as const;
  const fields = [
    ['content-type', 'application/grpc'] as const,
    [`x-${shape.below(90)}`, 'y'.repeat(shape.below(60))] as const,
  ];
  const trailers = [
    ['grpc-status', String(plan === 'refusal' ? shape.below(17) : 0)] as const,
    ['grpc-message', `asked ${asked}`] as const,
  ];
  if (plan === 'empty') return [headersOf(id, [status, ...trailers], end, shape, encoder)];
  const frames: Buffer[] = [];
  for (let count = shape.below(3); count > 1; count--) {
    frames.push(
      headersOf(
        id,
        [
          [':status', '103'],
          ['link', `<${count}>`],
        ],
        0,
        shape,
        encoder,
      ),
    );
  }
  frames.push(headersOf(id, [status, ...fields], 0, shape, encoder));
  const body = Buffer.alloc(shape.below(12) === 0 ? shape.below(100_000) : shape.below(300), String(asked));
  for (let at = 0; at < body.length; ) {
    const piece = body.subarray(at, at + 1 + shape.below(16_000));
    at += piece.length;
    frames.push(...aside(id, shape), dataOf(id, piece, shape));
  }
  frames.push(...aside(id, shape), headersOf(id, trailers, end, shape, encoder));
  return frames;
}

function dataOf(id: number, piece: Buffer, shape: Random): Buffer {
  if (shape.below(4) !== 0) return frame(type.data, 0, id, piece);
  const padding = shape.below(256);
  return frame(type.data, padded, id, Buffer.concat([Buffer.from([padding]), piece, Buffer.alloc(padding)]));
}

function headersOf(
  id: number,
  fields: readonly (readonly [string, string])[],
  flags: number,
  shape: Random,
  encoder: TableEncoder,
): Buffer {
  let block = encoder.encode(fields);
  if (shape.below(4) === 0) {
    const priority = Buffer.concat([uint32(0), Buffer.from([shape.below(256)])]);
    return frame(type.headers, flags | endHeaders | prioritized, id, Buffer.concat([priority, block]));
  }
  const frames: Buffer[] = [];
  for (let kind: number = type.headers; ; kind = type.continuation) {
    const isLast = shape.below(3) > 0;
    const part = isLast ? block : block.subarray(0, shape.below(block.length + 1));
    block = block.subarray(part.length);
    frames.push(frame(kind, (kind === type.headers ? flags : 0) | (isLast ? endHeaders : 0), id, part));
    if (isLast) return Buffer.concat(frames);
  }
}

/** Frames that a client passes over, or answers without anyone noticing. */
function aside(id: number, shape: Random): Buffer[] {
  const frames = [
    frame(type.ping, 0, 0, '12345678'),
    frame(type.priority, 0, id, Buffer.alloc(5)),
    frame(type.windowUpdate, 0, 0, uint32(1)),
    frame(type.settings, 0, 0, settings({ 99: 1 })),
    frame(0xfa, shape.below(256), id, 'unknown'),
    frame(type.data, 0, id),
  ];
  return shape.below(3) === 0 ? [oneOf(shape, frames)] : [];
}

function sendInPieces(peer: Peer, bytes: Buffer, shape: Random): Promise<void> {
  const count = shape.below(4) === 0 ? shape.below(5) : 0;
  const cuts = Array.from({ length: count }, () => shape.below(bytes.length + 1));
  return peer.sendInPieces(
    bytes,
    cuts.sort((a, b) => a - b),
  );
}
