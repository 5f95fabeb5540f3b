/**
 * The floor: the least that a right program can do in Node, for discover to be held against.
 *
 *   node floor.js SOCKET ETCD-ENDPOINT HOST-ID HOST-IP
 *
 * Subscribe, then list; each start is inspected over one of 8 raw kept-alive connections, each death
 * takes its keys away; what gathers while a transaction is under way goes with the next. A look that
 * began before a death is worth nothing. That is all: no lease, no owner, no retry, no resync, no
 * other networks, no names to be checked, one thread. Anything that goes wrong ends it.
 */
import http from 'node:http';
import http2 from 'node:http2';
import { connect } from 'node:net';
import { field, fields, Messages, open } from './lib/grpc.ts';

const [socketPath = '', endpoint = '', hostId = '', hostIp = ''] = process.argv.slice(2);
const connections = 8;
const containersMax = 64; // two keys each: etcd's 128 operations

interface Document {
  readonly State: { readonly Running: boolean; readonly Restarting: boolean };
  readonly Config: { readonly Env: readonly string[] | null };
  readonly NetworkSettings: { readonly Ports: Readonly<Record<string, readonly { HostPort: string }[] | null>> };
}

/** By id: which of its starts is the one to be looked at. Absent once it has died. */
const turns = new Map<string, number>();
/** By id: its keys with what to put there, undefined to delete. */
const pending = new Map<string, ReadonlyMap<string, string | undefined>>();
/** By id: the keys that are, or are about to be, in etcd. */
const written = new Map<string, readonly string[]>();
const waiting: [id: string, turn: number][] = [];
const idle: ((id: string, turn: number) => void)[] = [];
let counter = 0;

function started(id: string): void {
  const turn = ++counter;
  turns.set(id, turn);
  const ask = idle.pop();
  if (ask) ask(id, turn);
  else waiting.push([id, turn]);
}

function died(id: string): void {
  if (!turns.delete(id)) return;
  const keys = written.get(id);
  if (keys) change(id, new Map(keys.map((key) => [key, undefined])));
  else pending.delete(id);
}

function inspected(id: string, turn: number, body: string): void {
  if (turns.get(id) !== turn) return;
  const { Config, NetworkSettings, State } = JSON.parse(body) as Document;
  if (!State.Running || State.Restarting) return;
  const keys = new Map<string, string>();
  const record: Record<string, string> = {};
  const short = id.slice(0, 12);
  const declared = Config.Env?.find((entry) => entry.startsWith('DISCOVER='));
  for (const entry of declared?.slice(9).split(',') ?? []) {
    const [name = '', port = ''] = entry.trim().split(':');
    const bound = NetworkSettings.Ports[`${port}/tcp`]?.[0];
    if (!bound) continue;
    const key = `/discover/service/${name}/default/${hostId}/${short}`;
    keys.set(key, `tcp://${hostIp}:${bound.HostPort}`);
    record[name] = key;
  }
  if (keys.size === 0) return;
  keys.set(`/discover/host/${hostId}/${short}`, JSON.stringify(record));
  change(id, keys);
}

/** One raw connection: ask, read the length, take as many bytes, ask again. */
function inspector(): void {
  const socket = connect(socketPath);
  let current: [id: string, turn: number] | undefined;
  let parts: Buffer[] = [];
  let bytes = 0;
  let end = 0;
  let start = 0;
  let found = false;
  const ask = (id: string, turn: number): void => {
    current = [id, turn];
    socket.write(`GET /containers/${id}/json HTTP/1.1\r\nHost: docker\r\n\r\n`);
  };
  socket.on('connect', () => idle.push(ask));
  socket.on('data', (chunk) => {
    parts.push(chunk);
    bytes += chunk.length;
    if (end === 0) {
      const all = Buffer.concat(parts);
      parts = [all];
      const head = all.indexOf('\r\n\r\n');
      if (head < 0) return;
      const text = all.toString('latin1', 0, head);
      const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
      if (length === undefined) throw new Error(`The floor knows only answers of a given length:\n${text}`);
      found = text.startsWith('HTTP/1.1 200');
      start = head + 4;
      end = start + Number(length);
    }
    if (bytes < end || !current) return;
    const body = found ? Buffer.concat(parts).toString('utf8', start, end) : '';
    const [id, turn] = current;
    [parts, bytes, end, current] = [[], 0, 0, undefined];
    const next = waiting.shift();
    if (next) ask(...next);
    else idle.push(ask);
    if (found) inspected(id, turn, body);
  });
}

const etcd = http2.connect(endpoint);
let committing = false;

function change(id: string, keys: ReadonlyMap<string, string | undefined>): void {
  pending.set(id, keys);
  if (!committing) commit();
}

function commit(): void {
  const operations: Buffer[] = [];
  let containers = 0;
  for (const [id, keys] of pending) {
    if (containers++ === containersMax) break;
    pending.delete(id);
    const isRemoval = keys.values().next().value === undefined;
    if (isRemoval) written.delete(id);
    else written.set(id, [...keys.keys()]);
    for (const [key, value] of keys) {
      // TxnRequest.success = 2: RequestOp.request_put = 2 or .request_delete_range = 3
      const put = value === undefined ? field(3, field(1, key)) : field(2, concat(field(1, key), field(2, value)));
      operations.push(field(2, put));
    }
  }
  committing = operations.length > 0;
  if (!committing) return;
  const stream = open(etcd, 'KV/Txn', Buffer.concat(operations), true);
  const messages = new Messages();
  let succeeded = false;
  stream.on('data', (chunk: Buffer) => {
    // TxnResponse.succeeded = 2
    for (const message of messages.push(chunk))
      for (const [name, value] of fields(message)) if (name === 2) succeeded ||= value === 1;
  });
  stream.on('end', () => {
    if (!succeeded) throw new Error('The transaction has failed');
    commit();
  });
}

function concat(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts);
}

function follow(path: string, onText: (text: string) => void, onBegin = (): void => {}, onEnd = (): void => {}): void {
  http.get({ socketPath, path }, (response) => {
    response.setEncoding('utf8').on('data', onText).on('end', onEnd);
    onBegin();
  });
}

function list(): void {
  let text = '';
  const add = (part: string): void => {
    text += part;
  };
  follow('/containers/json', add, undefined, () => {
    for (const { Id } of JSON.parse(text) as { readonly Id: string }[]) if (!turns.has(Id)) started(Id);
  });
}

for (let count = 0; count < connections; count++) inspector();
const filters = JSON.stringify({ type: ['container'], event: ['start', 'die'] });
let rest = '';
const onEvents = (text: string): void => {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const { Action, Actor } = JSON.parse(line) as { readonly Action: string; readonly Actor: { readonly ID: string } };
    if (Action === 'start') started(Actor.ID);
    else died(Actor.ID);
  }
};
follow(`/events?filters=${encodeURIComponent(filters)}`, onEvents, list, () => process.exit(1));
