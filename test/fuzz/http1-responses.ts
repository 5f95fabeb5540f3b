/**
 * Responses of HTTP/1 at random, by their seeds: for the reader alone, and from a server to `InspectClient` and to the same
 * client on `node:http`, where the outcomes must be the same.
 *
 * Left out is where the two may differ: `node:http` takes a field whose line ends with LF, and a second
 * length that is equal.
 */
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { Random } from '../../bench/engine/random.ts';
import type { ContainerId } from '../../src/container/container.ts';
import { type InspectAnswer, InspectClient } from '../../src/docker/inspect-client.ts';
import { type Response, ResponseReader } from '../../src/net/http1/response.ts';
import { NodeInspectClient } from '../helpers/node-inspect.ts';

export interface Sent {
  /** In `latin1`. */
  readonly text: string;
  /** Whether the server closes the connection behind it. */
  readonly isLast: boolean;
}

/** A legal response to the inspection of a container, in one of its shapes. */
export function legalResponse(random: Random, id: string): Sent {
  const isOld = random.chance(0.1);
  const mark = random.below(20);
  const [status, text] =
    mark === 0
      ? ['404 Not Found', '{"message":"No such container: x"}']
      : mark === 1
        ? ['404 Not Found', 'page not found']
        : mark === 2
          ? ['500 Internal Server Error', 'x'.repeat(random.below(100))]
          : mark === 3
            ? ['204 No Content', '']
            : [
                '200 OK',
                JSON.stringify({ Id: id, Labels: 'ä'.repeat(random.below(random.chance(0.1) ? 40_000 : 300)) }),
              ];
  const body = Buffer.from(text ?? '').toString('latin1');
  const isClosed = random.chance(0.1);
  const fields = ['Server: Docker/20.10.24 (linux)', 'Api-Version: 1.41', ...(isClosed ? ['Connection: close'] : [])];
  const interim = random.chance(0.1) ? 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' : '';
  const start = `${interim}HTTP/1.${isOld ? 0 : 1} ${status}\r\n${fields.join('\r\n')}\r\n`;
  if (mark === 3) return { text: `${start}\r\n`, isLast: isClosed || isOld };
  const shape = random.below(10);
  if (shape === 0) return { text: `${start}\r\n${body}`, isLast: true };
  if (shape < 5 || isOld)
    return { text: `${start}Content-Length: ${body.length}\r\n\r\n${body}`, isLast: isClosed || isOld };
  return { text: `${start}Transfer-Encoding: chunked\r\n\r\n${chunksOf(random, body)}`, isLast: isClosed };
}

function chunksOf(random: Random, body: string): string {
  let text = '';
  for (let at = 0; at < body.length; ) {
    const size = 1 + random.below(random.chance(0.3) ? 20 : 20_000);
    const piece = body.slice(at, at + size);
    at += piece.length;
    text += `${piece.length.toString(16)}${random.chance(0.1) ? ';a=b' : ''}\r\n${piece}\r\n`;
  }
  return `${text}0\r\n${random.chance(0.1) ? 'X-Trailer: y\r\n' : ''}\r\n`;
}

const illegal = [
  'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
  'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\nno field\r\n\r\n',
  'SSH-2.0-OpenSSH_9.2\r\n\r\n',
  'HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n',
  '\0\0\x0c\x04\0\0\0\0\0',
];

/** What a server says to a request of this seed, legal or not. */
function sentFor(seed: number, id: string): Sent {
  const random = new Random(seed);
  const legal = legalResponse(random, id);
  const kind = random.below(20);
  if (kind === 0) return { text: legal.text.slice(0, random.below(legal.text.length)), isLast: true };
  if (kind === 1) return { text: illegal[random.below(illegal.length)] ?? '', isLast: true };
  if (kind === 2) return { text: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}`, isLast: false };
  if (kind === 3 && !legal.isLast) return { text: legal.text, isLast: true };
  return legal;
}

export interface Difference {
  readonly seed: number;
  readonly outcomes: readonly string[];
}

/** The same inspections through both clients: how many gave a document, and which did not come out the same. */
export async function compareInspections(count: number, firstSeed: number) {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', async (request) => {
      const id = /containers\/(\w{64})\/json/.exec(String(request))?.[1] ?? '';
      const { isLast, text } = sentFor(Number.parseInt(id.slice(-8), 16), id);
      const bytes = Buffer.from(text, 'latin1');
      const cut = bytes.length % 3 === 0 ? Math.floor(bytes.length / 2) : bytes.length;
      socket.write(bytes.subarray(0, cut));
      if (cut < bytes.length) await new Promise((resolve) => setImmediate(resolve));
      socket.write(bytes.subarray(cut));
      if (isLast) socket.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port } as const;
  const clients = [new InspectClient(endpoint), new NodeInspectClient(endpoint)];
  const differences: Difference[] = [];
  let documents = 0;
  const random = new Random(firstSeed);
  for (let done = 0; done < count; ) {
    const seeds = Array.from({ length: Math.min(1 + random.below(4), count - done) }, (_, at) => firstSeed + done + at);
    done += seeds.length;
    const idOf = (seed: number) => `${'c'.repeat(56)}${seed.toString(16).padStart(8, '0')}` as ContainerId;
    const outcomes = await Promise.all(
      clients.map((client) => Promise.all(seeds.map(async (seed) => outcomeOf(await client.inspect('', idOf(seed)))))),
    );
    for (const [at, seed] of seeds.entries()) {
      const [ours = '', theirs = ''] = outcomes.map((all) => all[at] ?? '');
      if (ours.startsWith('{')) documents++;
      if (ours !== theirs) differences.push({ seed, outcomes: [ours, theirs] });
    }
  }
  for (const client of clients) await client.close();
  server.close();
  return { documents, differences };
}

/** In words that do not depend on who tells it; of a failure only a status is the same. */
function outcomeOf(answer: InspectAnswer): string {
  if (answer.kind === 'document') return JSON.stringify(answer.document);
  return answer.kind === 'failed' && answer.detail.startsWith('status') ? answer.detail : answer.kind;
}

/** One response, whole or damaged, as it comes out of the reader; and whether it comes out the same wherever it is cut. */
export function fuzzResponse(seed: number): { readonly isRead: boolean; readonly fault: string | undefined } {
  const random = new Random(seed);
  const legal = legalResponse(random, 'a'.repeat(64));
  const bytes = Buffer.from(legal.text, 'latin1');
  const isDamaged = random.chance(0.7);
  for (let count = isDamaged ? 1 + random.below(3) : 0; count > 0; count--) {
    const at = random.below(Math.min(bytes.length, random.chance(0.8) ? 200 : bytes.length));
    bytes[at] = random.chance(0.5) ? random.below(256) : (bytes[at] ?? 0) ^ (1 << random.below(8));
  }
  const whole = readIn(bytes, [], legal.isLast);
  const cuts = Array.from({ length: 1 + random.below(6) }, () => random.below(bytes.length)).sort((a, b) => a - b);
  const cut = readIn(bytes, cuts, legal.isLast);
  const isRead = whole.startsWith('{');
  if (whole !== cut) return { isRead, fault: `whole: ${whole.slice(0, 200)}; cut at ${cuts}: ${cut.slice(0, 200)}` };
  if (!isDamaged && !isRead) return { isRead, fault: `a legal response is refused: ${whole}` };
  return { isRead, fault: undefined };
}

/** The first response in words, or what is wrong with it; a response behind it is another matter. */
function readIn(bytes: Buffer, cuts: readonly number[], isClosed: boolean): string {
  const reader = new ResponseReader(1 << 20);
  let response: Response | undefined;
  try {
    for (const [at, end] of [...cuts, bytes.length].entries()) {
      const piece = Buffer.from(bytes.subarray(at === 0 ? 0 : cuts[at - 1], end));
      response ??= reader.push(piece);
      piece.fill(0xff);
      if (response !== undefined) break;
    }
    if (isClosed) response ??= reader.end();
  } catch (error) {
    return `refused: ${(error as Error).message}`;
  }
  return response === undefined ? 'nothing' : JSON.stringify({ status: response.status, body: response.body });
}
