/**
 * The floor: the least that a right program can do in Node, for discover to be held against.
 *
 *   node floor.js SOCKET ETCD-ENDPOINT HOST-ID HOST-IP
 *
 * Subscribe, then list; a start is inspected over one of 8 raw kept-alive connections, a death takes
 * its keys away, what gathers while a transaction is under way goes with the next, and a look that a
 * death has overtaken is worth nothing. That is all: no lease, owner, retry, resync, check of names,
 * other network, second thread. Anything that goes wrong ends it.
 */
import http from 'node:http';
import http2 from 'node:http2';
import { connect } from 'node:net';
import { field, fields, Messages, open } from './lib/grpc.ts';

interface Document {
  readonly State: { readonly Running: boolean; readonly Restarting: boolean };
  readonly Config: { readonly Env: readonly string[] | null };
  readonly NetworkSettings: { readonly Ports: Readonly<Record<string, readonly { HostPort: string }[] | null>> };
}
/** What to put, or undefined to delete, by key. */
type Keys = ReadonlyMap<string, string | undefined>;

const [socketPath = '', endpoint = '', hostId = '', hostIp = ''] = process.argv.slice(2);
const connections = 8;
const containersMax = 64; // two keys each: etcd's 128 operations
/** By id: which of its starts is to be looked at. Absent once it has died. */
const turns = new Map<string, number>();
/** By id: what etcd is to be told, and what it has been told and not to forget. */
const pending = new Map<string, Keys>();
const written = new Map<string, Keys>();
const waiting: string[] = [];
const idle: ((id: string) => void)[] = [];
const etcd = http2.connect(endpoint);
let counter = 0;
let isCommitting = false;

function started(id: string): void {
  turns.set(id, ++counter);
  const ask = idle.pop();
  if (ask) ask(id);
  else waiting.push(id);
}

function died(id: string): void {
  if (!turns.delete(id)) return;
  const keys = written.get(id);
  if (keys) change(id, new Map([...keys.keys()].map((key) => [key, undefined])));
  else pending.delete(id);
}

function inspected(id: string, body: string): void {
  const { Config, NetworkSettings, State } = JSON.parse(body) as Document;
  if (!State.Running || State.Restarting) return;
  const keys = new Map<string, string>();
  const record: Record<string, string> = {};
  const declared = Config.Env?.find((entry) => entry.startsWith('DISCOVER='))?.slice('DISCOVER='.length);
  for (const entry of declared?.split(',') ?? []) {
    const [name = '', port = ''] = entry.trim().split(':');
    const bound = NetworkSettings.Ports[`${port}/tcp`]?.[0];
    if (!bound) continue;
    record[name] = `/discover/service/${name}/default/${hostId}/${id.slice(0, 12)}`;
    keys.set(record[name], `tcp://${hostIp}:${bound.HostPort}`);
  }
  if (keys.size === 0) return;
  change(id, keys.set(`/discover/host/${hostId}/${id.slice(0, 12)}`, JSON.stringify(record)));
}

function change(id: string, keys: Keys): void {
  pending.set(id, keys);
  if (!isCommitting) commit();
}

function commit(): void {
  const operations: Buffer[] = [];
  for (const [id, keys] of [...pending].slice(0, containersMax)) {
    pending.delete(id);
    written.delete(id);
    for (const [key, value] of keys) {
      if (value !== undefined) written.set(id, keys);
      // TxnRequest.success: RequestOp.request_delete_range, .request_put
      const put =
        value === undefined ? field(3, field(1, key)) : field(2, Buffer.concat([field(1, key), field(2, value)]));
      operations.push(field(2, put));
    }
  }
  isCommitting = operations.length > 0;
  if (!isCommitting) return;
  const messages = new Messages();
  let succeeded = false;
  open(etcd, 'KV/Txn', Buffer.concat(operations), true)
    .on('data', (chunk: Buffer) => {
      // TxnResponse.succeeded
      succeeded = messages
        .push(chunk)
        .some((answer) => [...fields(answer)].some(([name, value]) => name === 2 && value === 1));
    })
    .on('end', () => {
      if (!succeeded) throw new Error('The transaction has failed');
      commit();
    });
}

/** One raw connection: ask, read the length, take as many bytes, ask again. */
function openInspector(): void {
  const socket = connect(socketPath, () => idle.push(ask));
  let [id, turn] = ['', 0];
  let answer: Buffer = Buffer.alloc(0);
  const ask = (next: string): void => {
    [id, turn] = [next, turns.get(next) ?? 0];
    answer = Buffer.alloc(0);
    socket.write(`GET /containers/${id}/json HTTP/1.1\r\nHost: docker\r\n\r\n`);
  };
  socket.on('data', (chunk) => {
    answer = answer.length > 0 ? Buffer.concat([answer, chunk]) : chunk;
    const bodyAt = answer.indexOf('\r\n\r\n') + 4;
    if (bodyAt < 4) return;
    const head = answer.toString('latin1', 0, bodyAt);
    const end = bodyAt + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1]);
    if (Number.isNaN(end)) throw new Error(`The floor knows only answers of a given length:\n${head}`);
    if (answer.length < end) return;
    const [body, isOvertaken] = [answer.toString('utf8', bodyAt, end), turns.get(id) !== turn];
    const asked = id;
    let next = waiting.shift();
    while (next && !turns.has(next)) next = waiting.shift();
    if (next) ask(next);
    else idle.push(ask);
    if (!isOvertaken && head.startsWith('HTTP/1.1 200')) inspected(asked, body);
  });
}

function read(path: string, onText: (text: string) => void, onBegin?: () => void): http.ClientRequest {
  return http.get({ socketPath, path }, (response) => {
    response.setEncoding('utf8').on('data', onText);
    onBegin?.();
  });
}

function list(): void {
  let text = '';
  const request = read('/containers/json', (part) => {
    text += part;
  });
  request.on('close', () => {
    for (const { Id } of JSON.parse(text) as { readonly Id: string }[]) if (!turns.has(Id)) started(Id);
  });
}

let rest = '';
function onEvents(text: string): void {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const { Action, Actor } = JSON.parse(line) as { readonly Action: string; readonly Actor: { readonly ID: string } };
    if (Action === 'start') started(Actor.ID);
    else died(Actor.ID);
  }
}

for (let count = 0; count < connections; count++) openInspector();
const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['start', 'die'] }));
read(`/events?filters=${filters}`, onEvents, list).on('close', () => process.exit(1));
