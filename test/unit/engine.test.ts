/**
 * The simulated engine against recordings of a real one, and the faults it can be given.
 *
 * Shapes are compared key for key in order and type for type; ids and times also by their form.
 * The client is node:http, which shares no code with the engine; requests cut anywhere go over a
 * plain socket.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { churn } from '../../bench/engine/churn.ts';
import { forkEngine } from '../../bench/engine/client.ts';
import { type CreateOptions, Engine, type EngineOptions } from '../../bench/engine/engine.ts';
import { readInspection } from '../../src/container/document.ts';
import { readEvent } from '../../src/docker/events.ts';
import { eventually } from '../helpers/eventually.ts';
import { typescript } from '../helpers/run.ts';

const fixtures = new URL('../fixtures/', import.meta.url);
const recorded = (name: string): string => readFileSync(new URL(name, fixtures), 'utf8');
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

interface Event {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  time: number;
}
interface Inspect {
  Id: string;
  State: { Running: boolean; Restarting: boolean; Status: string };
  NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[] | null> };
}
interface Answer {
  method: string;
  path: string;
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An engine on a socket of its own, with a client. */
class Bench implements AsyncDisposable {
  readonly engine: Engine;
  readonly #directory = mkdtempSync(join(tmpdir(), 'discover-test-'));
  readonly socketPath = join(this.#directory, 'docker.sock');

  readonly #clock: () => number;

  private constructor(options: Partial<EngineOptions>) {
    this.#clock = options.clock ?? Date.now;
    this.engine = new Engine({ api: '1.41', ...options });
  }

  static async open(options: Partial<EngineOptions> = {}): Promise<Bench> {
    const bench = new Bench(options);
    await bench.engine.listen({ socketPath: bench.socketPath });
    return bench;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  open(path: string, method = 'GET'): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request({ socketPath: this.socketPath, path, method, agent: false }, resolve).once('error', reject).end();
    });
  }

  async get(path: string, method = 'GET'): Promise<Answer> {
    const response = await this.open(path, method);
    let body = '';
    for await (const part of response.setEncoding('utf8')) body += part;
    return { method, path, status: response.statusCode ?? 0, headers: response.headers, body };
  }

  /** Of an answer that has no end: what comes before the body. */
  async glimpse(path: string): Promise<Answer> {
    const response = await this.open(path);
    response.destroy();
    return { method: 'GET', path, status: response.statusCode ?? 0, headers: response.headers, body: '' };
  }

  async inspect(reference: string): Promise<Inspect> {
    return JSON.parse((await this.get(`/v1.41/containers/${reference}/json`)).body);
  }

  async listed(query = ''): Promise<string[]> {
    const { status, body } = await this.get(`/v1.41/containers/json${query}`);
    assert.equal(status, 200, body);
    return (JSON.parse(body) as { Names: string[] }[]).map(({ Names }) => Names[0] ?? '');
  }

  /** What has happened so far, as a client sees it that asks for the past. */
  async past(filters: object = {}, prefix = '/v1.41'): Promise<Event[]> {
    return lines(await this.pastText(filters, prefix)).map((line) => JSON.parse(line));
  }

  async pastText(filters: object = {}, prefix = '/v1.41'): Promise<string> {
    // A little ahead, because the latest event may be: the answer takes that much longer.
    const until = (this.#clock() + 3) / 1000;
    const query = `since=1&until=${until.toFixed(3)}&filters=${encodeURIComponent(JSON.stringify(filters))}`;
    const { status, body } = await this.get(`${prefix}/events?${query}`);
    assert.equal(status, 200, body);
    return body;
  }

  /** Follows the events; `text` and `parts` grow. */
  async follow(query = ''): Promise<Follower> {
    const response = await this.open(`/v1.41/events${query}`);
    return new Follower(response);
  }
}

class Follower implements Disposable {
  readonly parts: Buffer[] = [];
  readonly response: IncomingMessage;
  over: 'open' | 'whole' | 'torn' = 'open';

  constructor(response: IncomingMessage) {
    this.response = response;
    response.on('data', (part: Buffer) => this.parts.push(part));
    response.on('end', () => {
      this.over = 'whole';
    });
    response.on('error', () => {
      this.over = 'torn';
    });
  }

  get text(): string {
    return Buffer.concat(this.parts).toString();
  }

  get names(): string[] {
    const whole = this.text.slice(0, this.text.lastIndexOf('\n') + 1);
    return lines(whole).map((line) => (JSON.parse(line) as Event).Actor.Attributes.name ?? '');
  }

  [Symbol.dispose](): void {
    this.response.destroy();
  }
}

/** Keys in order, types, and the form of ids and times. */
function shape(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.map(shape);
  if (typeof value === 'object') return Object.entries(value).map(([key, inner]) => [key, shape(inner)]);
  if (typeof value !== 'string') return typeof value;
  if (value === '') return 'empty';
  if (/^[0-9a-f]{64}$/.test(value)) return 'id';
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(value)) return value.startsWith('0001') ? 'no time' : 'time';
  return 'string';
}

function sameShape(simulated: string, recording: string): void {
  assert.deepEqual(shape(JSON.parse(simulated)), shape(JSON.parse(recording)));
}

/** What was started when the recordings were made. */
const web: CreateOptions = {
  name: 'web',
  env: ['DISCOVER=web:8080'],
  labels: { team: 'blue' },
  ports: [{ container: '8080/tcp' }, { container: '9090/tcp', hostIp: '127.0.0.1', hostPort: 18081 }],
};

function live(engine: Engine): void {
  const id = engine.run(web);
  engine.restart(id);
  engine.rename(id, 'web2');
  engine.pause(id);
  engine.unpause(id);
  engine.disconnect(id);
  engine.connect(id);
  engine.stop(id);
  engine.start(id);
  engine.kill(id);
  engine.remove(id);
}

const scripts: Record<string, (engine: Engine) => void> = {
  life: live,
  created: (engine) => engine.remove(engine.create({ name: 'made' })),
  'auto-remove': (engine) => engine.stop(engine.run({ name: 'auto', autoRemove: true })),
  'exit-auto-remove': (engine) => engine.die(engine.run({ name: 'nice_kapitsa', autoRemove: true }), 3),
  exit: (engine) => {
    const id = engine.run({ name: 'selfie' });
    engine.die(id, 3);
    engine.remove(id);
  },
  'remove-force-host-network': (engine) => engine.remove(engine.run({ name: 'hostnet', networkMode: 'host' })),
  'crash-loop': (engine) => {
    const id = engine.run({ name: 'loop', ports: [{ container: '80/tcp' }] });
    for (let i = 0; i < 3; i++) {
      engine.crash(id);
      engine.start(id);
    }
    engine.crash(id);
    engine.remove(id);
  },
};

for (const [name, script] of Object.entries(scripts)) {
  test(`the simulated engine tells of ${name} in the events, order and shape that dockerd does`, async () => {
    await using bench = await Bench.open();
    script(bench.engine);
    const simulated = lines(await bench.pastText());
    const recording = lines(recorded(`dockerd-20.10.24/events-${name}.jsonl`));
    const values = (line: string) => {
      const { Type, Action, Actor } = JSON.parse(line) as Event;
      const { container, ...attributes } = Actor.Attributes;
      return [Type, Action, attributes];
    };
    assert.deepEqual(simulated.map(values), recording.map(values));
    for (const [i, line] of simulated.entries()) sameShape(line, recording[i] ?? '');
  });
}

/** A start or an end, as discover reads it; the order of what is between them changes from engine to engine. */
function turnsOf(events: readonly string[]): string[] {
  const kinds = events.map((event) => readEvent(event)).flatMap((event) => (event === undefined ? [] : [event.kind]));
  return kinds
    .filter((kind) => kind === 'inspect' || kind === 'died')
    .filter((kind, index, all) => kind !== all[index - 1]);
}

for (const [name, script] of Object.entries(scripts)) {
  test(`the simulated engine tells of ${name} the starts and ends that dockerd 26.1 does`, async () => {
    await using bench = await Bench.open();
    script(bench.engine);
    const recording = lines(recorded(`dockerd-26.1.5/events-${name}.jsonl`));
    const turns = turnsOf(lines(await bench.pastText()));
    // How often it was started again is the machine's.
    const count = name === 'crash-loop' ? 4 : turns.length;
    assert.deepEqual(turns.slice(0, count), turnsOf(recording).slice(0, count));
    assert.equal(turns.at(-1), turnsOf(recording).at(-1));
  });
}

/** How the container comes into the state it was recorded in. */
const states: Record<string, (engine: Engine) => string> = {
  running: (engine) => engine.run(web),
  created: (engine) => engine.create({ ports: [{ container: '80/tcp' }] }),
  restarted: (engine) => {
    const id = engine.run(web);
    engine.restart(id);
    return id;
  },
  paused: (engine) => {
    const id = engine.run(web);
    engine.restart(id);
    engine.pause(id);
    return id;
  },
  disconnected: (engine) => {
    const id = engine.run(web);
    engine.restart(id);
    engine.disconnect(id);
    return id;
  },
  reconnected: (engine) => {
    const id = engine.run(web);
    engine.restart(id);
    engine.disconnect(id);
    engine.connect(id);
    return id;
  },
  stopped: (engine) => {
    const id = engine.run(web);
    engine.stop(id);
    return id;
  },
  restarting: (engine) => {
    const id = engine.run({ ports: [{ container: '80/tcp' }] });
    engine.crash(id);
    return id;
  },
  'host-network': (engine) => engine.run({ networkMode: 'host' }),
  'no-network': (engine) => engine.run({ networkMode: 'none' }),
  'container-network': (engine) => engine.run({ networkMode: `container:${engine.run()}` }),
  'user-network': (engine) =>
    engine.run({
      networkMode: 'mine',
      ports: [
        { container: '70/tcp', published: false },
        { container: '80/udp', hostPort: 8080 },
        { container: '9000/tcp' },
        { container: '9001/tcp', hostPort: 9001 },
      ],
    }),
};

for (const [name, reach] of Object.entries(states)) {
  test(`the simulated engine inspects a container (${name}) in the shape that dockerd gives`, async () => {
    await using bench = await Bench.open();
    const { status, body, headers } = await bench.get(`/v1.41/containers/${reach(bench.engine)}/json`);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/json');
    sameShape(body, recorded(`dockerd-20.10.24/inspect-${name}.json`));
  });
}

for (const name of ['running', 'restarted', 'paused', 'disconnected', 'reconnected', 'stopped', 'restarting']) {
  test(`the simulated engine inspects a container (${name}) with the outcome that dockerd 26.1 has`, async () => {
    await using bench = await Bench.open();
    const { body } = await bench.get(`/v1.41/containers/${states[name]?.(bench.engine)}/json`);
    const outcomeOf = (text: string): unknown => {
      const options = { hostIp: '10.0.0.5', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;
      const inspection = readInspection(JSON.parse(text), options);
      if (inspection.kind !== 'running') return inspection;
      const services = inspection.services.map(({ port, ...service }) => service);
      return { services, refusals: inspection.refusals };
    };
    assert.deepEqual(outcomeOf(body), outcomeOf(recorded(`dockerd-26.1.5/inspect-${name}.json`)));
  });
}

/** The map of ports has no order in Go, so the list of them has none either. */
function portsSorted(list: string): string {
  const containers = JSON.parse(list) as { Ports: { PrivatePort: number; IP?: string }[] }[];
  for (const { Ports } of containers) {
    Ports.sort((a, b) => a.PrivatePort - b.PrivatePort || ((a.IP ?? '') < (b.IP ?? '') ? -1 : 1));
  }
  return JSON.stringify(containers);
}

for (const name of [
  'running',
  'created',
  'paused',
  'disconnected',
  'stopped',
  'restarting',
  'host-network',
  'user-network',
]) {
  test(`the simulated engine lists a container (${name}) in the shape that dockerd gives`, async () => {
    await using bench = await Bench.open();
    states[name]?.(bench.engine);
    const { body } = await bench.get('/v1.41/containers/json?all=1');
    sameShape(portsSorted(body), portsSorted(recorded(`dockerd-20.10.24/list-${name}.json`)));
  });
}

test('the simulated engine answers with the status, headers and words that dockerd does', async () => {
  await using bench = await Bench.open();
  const answers = JSON.parse(recorded('dockerd-20.10.24/answers.json')) as Answer[];
  // Methods other than GET are its one deliberate difference.
  const gets = answers.filter(({ method, path }) => method === 'GET' || path === '/_ping');
  assert.ok(gets.length > 25);
  for (const { method, path, status, headers, body } of gets) {
    const isLive = status === 200 && path.endsWith('until=');
    const answer = isLive ? await bench.glimpse(path) : await bench.get(encodeURI(path), method);
    const { date, connection, ...rest } = answer.headers;
    assert.deepEqual({ path, status: answer.status, body: answer.body }, { path, status, body });
    assert.deepEqual(rest, headers, path);
  }
  for (const [path, method] of [
    ['/v1.41/events', 'POST'],
    ['/v1.41/containers/json', 'HEAD'],
  ]) {
    assert.equal((await bench.get(path ?? '', method)).status, 405);
  }
});

test('the simulated engine describes its version in the shape that dockerd does', async () => {
  await using bench = await Bench.open();
  const { body } = await bench.get('/version');
  sameShape(body, recorded('dockerd-20.10.24/version.json'));
  assert.deepEqual(JSON.parse(body), JSON.parse(recorded('dockerd-20.10.24/version.json')));
});

test('the simulated engine of API 1.52 leaves out what that version dropped, and not for older clients', async () => {
  await using bench = await Bench.open({ api: '1.52' });
  const id = bench.engine.run(web);
  const inspect = (prefix: string) => bench.get(`${prefix}/containers/${id}/json`);
  sameShape((await inspect('/v1.52')).body, recorded('api-1.52-derived/inspect-running.json'));
  sameShape((await inspect('')).body, recorded('api-1.52-derived/inspect-running.json'));
  sameShape((await inspect('/v1.44')).body, recorded('dockerd-20.10.24/inspect-running.json'));
  sameShape((await bench.get('/v1.52/containers/json')).body, recorded('api-1.52-derived/list-running.json'));
  bench.engine.remove(id);
  const before = (await bench.past({}, '/v1.52')).length;
  live(bench.engine);
  const recording = lines(recorded('api-1.52-derived/events-life.jsonl'));
  const simulated = lines(await bench.pastText({}, '/v1.52')).slice(before);
  assert.deepEqual(
    simulated.map((line) => shape(JSON.parse(line))),
    recording.map((line) => shape(JSON.parse(line))),
  );
  assert.match(await bench.pastText({}, '/v1.44'), /^\{"status":"create","id":"[0-9a-f]{64}","from":"app:1",/);
  const tooOld = await bench.get('/v1.43/containers/json');
  assert.equal(tooOld.status, 400);
  assert.match(tooOld.body, /client version 1.43 is too old. Minimum supported API version is 1.44/);
  assert.equal((await bench.get('/_ping')).headers['api-version'], '1.52');
  assert.equal(JSON.parse((await bench.get('/version')).body).MinAPIVersion, '1.44');
});

test('the simulated engine gives event times as whole int64, strictly increasing', async () => {
  await using bench = await Bench.open({ clock: () => 1_795_460_830_597 });
  for (let i = 0; i < 20; i++) bench.engine.run();
  const text = await bench.pastText({}, '/v1.41');
  const nanos = lines(text).map((line) => /"timeNano":(\d+)\}$/.exec(line)?.[1] ?? '');
  assert.equal(nanos.length, 60);
  for (const [i, nano] of nanos.entries()) {
    assert.match(nano, /^17954608305970?\d{5,6}$/);
    assert.ok(i === 0 || BigInt(nano) > BigInt(nanos[i - 1] ?? 0), `${nano} after ${nanos[i - 1]}`);
  }
  assert.ok(nanos.some((nano) => String(Number(nano)) !== nano));
});

test('the simulated engine sends events as they happen, each in a chunk of its own', async () => {
  await using bench = await Bench.open();
  bench.engine.run({ name: 'before' });
  using follower = await bench.follow();
  const id = bench.engine.run({ name: 'seen', labels: { zebra: '<&>', apple: 'é\u2028' } });
  await eventually(() => assert.equal(follower.parts.length, 3));
  assert.deepEqual(
    lines(follower.text).map((line) => (JSON.parse(line) as Event).Action),
    ['create', 'connect', 'start'],
  );
  // As Go writes it: keys of a map sorted, and no sign that HTML would take for its own.
  assert.ok(
    follower.text.includes(
      '"Attributes":{"apple":"é\\u2028","image":"app:1","name":"seen","zebra":"\\u003c\\u0026\\u003e"}',
    ),
  );
  assert.ok(lines(follower.text).every((line) => line.includes(id)));
  assert.equal(bench.engine.streamCount, 1);
  follower.response.destroy();
  await eventually(() => assert.equal(bench.engine.streamCount, 0));
});

test('the simulated engine replays the last 256 events of all types, and filters afterwards', async () => {
  await using bench = await Bench.open();
  bench.engine.run({ name: 'forgotten' });
  const id = bench.engine.run({ name: 'kept' });
  for (let i = 0; i < 254; i++) bench.engine.emit({ type: 'image', action: 'tag', id: 'sha256:1', attributes: {} });
  assert.equal((await bench.past()).length, 256);
  const containers = await bench.past({ type: ['container'] });
  assert.deepEqual(
    containers.map(({ Action, Actor }) => [Action, Actor.ID]),
    [['start', id]],
  );
  for (let i = 0; i < 2; i++) bench.engine.emit({ type: 'image', action: 'tag', id: 'sha256:1', attributes: {} });
  assert.deepEqual(await bench.past({ type: ['container'] }), []);
  await bench.engine.leave('missing');
  await bench.engine.comeBack();
  assert.deepEqual(await bench.past(), []);
});

test('the simulated engine takes since and until as included bounds, to the nanosecond', async () => {
  let now = 1_700_000_000_000;
  await using bench = await Bench.open({ clock: () => now });
  for (const name of ['a', 'b', 'c']) {
    bench.engine.create({ name });
    now += 1000;
  }
  now += 10_000;
  const all = lines((await bench.get('/events?since=0&until=1700000009')).body);
  const [, second = ''] = all.map((line) => /"timeNano":(\d{10})(\d{9})/.exec(line)?.slice(1).join('.') ?? '');
  const names = async (query: string) =>
    lines((await bench.get(`/events?${query}`)).body).map((line) => (JSON.parse(line) as Event).Actor.Attributes.name);
  assert.deepEqual(await names(`since=${second}&until=1700000009`), ['b', 'c']);
  assert.deepEqual(await names(`since=1&until=${second}`), ['a', 'b']);
  assert.deepEqual(await names(`since=${second}&until=${second}`), ['b']);
  assert.deepEqual(await names('since=1700000001&until=1700000001.9'), ['b']);
  // Without since the past is there all the same; with an end ahead the stream stays open until then.
  const startedAt = performance.now();
  assert.deepEqual(await names(`until=${(now + 100) / 1000}`), ['a', 'b', 'c']);
  assert.ok(performance.now() - startedAt >= 99);
});

test('the simulated engine filters events as dockerd does', async () => {
  await using bench = await Bench.open();
  const id = bench.engine.run({ name: 'web', image: 'shop:2', labels: { team: 'blue' } });
  bench.engine.run({ name: 'other' });
  bench.engine.emit({ type: 'container', action: 'exec_create: sh', id, attributes: { name: 'web' } });
  const count = async (filters: object) => (await bench.past(filters)).length;
  for (const [filters, expected] of [
    [{}, 7],
    [{ type: [] }, 7],
    [{ type: ['container'] }, 5],
    [{ type: { container: true } }, 5],
    [{ type: { container: false } }, 0],
    [{ type: ['container', 'network'], event: ['start', 'connect'] }, 4],
    [{ event: ['sta'] }, 0],
    [{ event: ['exec_create'] }, 1],
    [{ event: ['exec_create: sh'] }, 1],
    [{ container: ['web'] }, 3],
    [{ container: [id.slice(0, 12)] }, 3],
    [{ container: ['nobody'] }, 0],
    [{ network: ['bridge'] }, 2],
    [{ label: ['team'] }, 2],
    [{ label: ['team=blue'] }, 2],
    [{ label: ['team=blue', 'floor'] }, 0],
    [{ image: ['shop'] }, 2],
    [{ image: ['shop:2'] }, 2],
    [{ bogus: ['x'] }, 7],
  ] as const) {
    assert.equal(await count(filters), expected, JSON.stringify(filters));
  }
});

test('the simulated engine lists what runs, newest first, and filters as dockerd does', async () => {
  let now = Date.now() - 10_000;
  await using bench = await Bench.open({ clock: () => (now += 10) });
  const id = bench.engine.run({ name: 'one', labels: { team: 'blue' } });
  bench.engine.pause(bench.engine.run({ name: 'paused' }));
  bench.engine.crash(bench.engine.run({ name: 'restarting' }));
  const exited = bench.engine.run({ name: 'exited' });
  bench.engine.die(exited);
  bench.engine.create({ name: 'created' });
  const query = (filters: object, more = '') => `?filters=${encodeURIComponent(JSON.stringify(filters))}${more}`;
  assert.deepEqual(await bench.listed(), ['/restarting', '/paused', '/one']);
  assert.deepEqual(await bench.listed('?all=true'), ['/created', '/exited', '/restarting', '/paused', '/one']);
  assert.deepEqual(await bench.listed('?all=0'), ['/restarting', '/paused', '/one']);
  assert.deepEqual(await bench.listed('?limit=2'), ['/created', '/exited']);
  assert.deepEqual(await bench.listed(query({ id: [id] })), ['/one']);
  assert.deepEqual(await bench.listed(query({ id: { [id.slice(0, 12)]: true, [exited]: true } })), ['/one']);
  assert.deepEqual(await bench.listed(query({ id: [id, exited] }, '&all=1')), ['/exited', '/one']);
  assert.deepEqual(await bench.listed(query({ status: ['exited', 'paused'] })), ['/exited', '/paused']);
  assert.deepEqual(await bench.listed(query({ label: ['team=blue'] })), ['/one']);
  assert.deepEqual(await bench.listed(query({ name: ['^on'] })), ['/one']);
  assert.equal((await bench.get(`/containers/json${query({ network: ['x'] })}`)).status, 501);
  assert.equal((await bench.get(`/containers/json${query({ name: ['('] })}`)).status, 400);
  const old = bench.engine.run({ name: 'old', startedAt: 1_600_000_000_000.5 });
  assert.equal((await bench.listed()).at(-1), '/old');
  assert.equal(bench.engine.truth(old)?.startedAt, '1600000000001000000');
});

test('the simulated engine finds a container by full id, then by name, then by a prefix that is its own', async () => {
  await using bench = await Bench.open();
  const id = bench.engine.run({ name: 'web' });
  const impostor = bench.engine.run({ name: 'other' });
  assert.equal((await bench.inspect(id.slice(0, 12))).Id, id);
  assert.equal((await bench.inspect('web')).Id, id);
  bench.engine.rename(impostor, id.slice(0, 12));
  assert.equal((await bench.inspect(id.slice(0, 12))).Id, impostor);
  assert.equal((await bench.inspect(id)).Id, id);
  for (let i = 0; i < 40; i++) bench.engine.create();
  const ambiguous = await Promise.all([...'0123456789abcdef'].map((digit) => bench.get(`/containers/${digit}/json`)));
  assert.ok(ambiguous.some(({ status, body }) => status === 500 && body.includes('Multiple IDs found')));
  bench.engine.remove(id);
  assert.deepEqual(
    [(await bench.get(`/containers/${id}/json`)).status, (await bench.get(`/containers/${id}/json`)).body],
    [404, `{"message":"No such container: ${id}"}\n`],
  );
});

test('the simulated engine moves ephemeral ports as dockerd does, and recycles a small range', async () => {
  await using bench = await Bench.open({ portRange: [40_000, 40_002] });
  const id = bench.engine.run(web);
  const ports = async () => (await bench.inspect(id)).NetworkSettings.Ports;
  const both = (HostPort: string) => [
    { HostIp: '0.0.0.0', HostPort },
    { HostIp: '::', HostPort },
  ];
  const fixed = [{ HostIp: '127.0.0.1', HostPort: '18081' }];
  assert.deepEqual(await ports(), { '8080/tcp': both('40000'), '9090/tcp': fixed });
  bench.engine.restart(id);
  assert.deepEqual(await ports(), { '8080/tcp': both('40001'), '9090/tcp': fixed });
  bench.engine.disconnect(id);
  assert.deepEqual(await ports(), {});
  bench.engine.connect(id);
  assert.deepEqual(await ports(), { '8080/tcp': both('40002'), '9090/tcp': fixed });
  bench.engine.pause(id);
  assert.deepEqual(await ports(), { '8080/tcp': both('40002'), '9090/tcp': fixed });
  bench.engine.kill(id);
  assert.deepEqual(await ports(), {});
  const next = bench.engine.run({ ports: [{ container: '80/tcp' }] });
  assert.deepEqual((await bench.inspect(next)).NetworkSettings.Ports, { '80/tcp': both('40000') });
  assert.deepEqual(bench.engine.truth(next)?.ports, { '80/tcp': both('40000') });
});

test('the simulated engine refuses a start whose port is taken, and no event tells of it', async () => {
  await using bench = await Bench.open();
  bench.engine.run({ ports: [{ container: '80/tcp', hostPort: 80 }] });
  const id = bench.engine.create({ ports: [{ container: '90/tcp' }, { container: '80/tcp', hostPort: 80 }] });
  const before = (await bench.past()).length;
  assert.throws(() => bench.engine.start(id), /already allocated: 80\/tcp/);
  assert.equal((await bench.inspect(id)).State.Status, 'created');
  assert.equal((await bench.past()).length, before);
});

test('the simulated engine shows the old ports of a container that died unseen, and tells nobody', async () => {
  await using bench = await Bench.open();
  const id = bench.engine.run(web);
  const { Ports } = (await bench.inspect(id)).NetworkSettings;
  const before = (await bench.past()).length;
  bench.engine.dieUnseen(id);
  const after = await bench.inspect(id);
  assert.deepEqual([after.State.Running, after.NetworkSettings.Ports], [false, Ports]);
  assert.equal((await bench.past()).length, before);
  assert.deepEqual(await bench.listed(), []);
});

test('the simulated engine pads inspect documents to the size asked for', async () => {
  await using bench = await Bench.open({ bodyBytes: 8_000 });
  const { body } = await bench.get(`/containers/${bench.engine.run(web)}/json`);
  assert.ok(body.length >= 8_000 && body.length < 8_100, String(body.length));
  assert.ok(JSON.parse(body).Config.Env.includes('DISCOVER=web:8080'));
});

test('the simulated engine shows the health of a container that has a check, and of no other', async () => {
  await using bench = await Bench.open();
  const id = bench.engine.run({ isChecked: true });
  const { Config, State } = JSON.parse((await bench.get(`/v1.41/containers/${id}/json`)).body);
  assert.deepEqual([State.Health.Status, State.Health.Log.length, Config.Healthcheck.Test.length], ['healthy', 5, 2]);
  const plain = bench.engine.run();
  assert.doesNotMatch((await bench.get(`/v1.41/containers/${plain}/json`)).body, /"Health/);
});

test('the simulated engine can take its time over a stop: the same events, and others between them', async () => {
  await using bench = await Bench.open();
  const run = (name: string): string => bench.engine.run({ name, autoRemove: true });
  const [quick, slow] = [run('quick'), run('slow')];
  const stopping = bench.engine.stopSpaced(slow);
  assert.equal(bench.engine.truth(slow)?.state, 'running', 'It has been told, and runs');
  bench.engine.stop(quick);
  await stopping;
  const events = await bench.past();
  const of = (id: string): string[] =>
    events
      .filter(({ Actor }) => Actor.ID === id || Actor.Attributes.container === id)
      .map(({ Type, Action }) => `${Type} ${Action}`);
  assert.deepEqual(of(slow), of(quick));
  assert.deepEqual(of(slow).slice(-5), [
    'container kill',
    'container die',
    'network disconnect',
    'container stop',
    'container destroy',
  ]);
  assert.equal(events.at(-1)?.Actor.ID, slow);
});

test('the simulated engine can send every event, whatever was asked for', async () => {
  await using bench = await Bench.open();
  bench.engine.faults.unfiltered = true;
  using follower = await bench.follow(`?filters=${encodeURIComponent('{"event":["start"]}')}`);
  const id = bench.engine.run(web);
  bench.engine.emit({ type: 'container', action: 'exec_die', id, attributes: { name: 'probed' } });
  await eventually(() => assert.equal(lines(follower.text).length, 4));
});

test('the simulated engine counts requests by kind and records them on demand', async () => {
  await using bench = await Bench.open();
  await bench.get('/_ping');
  bench.engine.recordRequests = true;
  for (const path of ['/version', '/v1.41/containers/json', '/nope']) await bench.get(path);
  assert.deepEqual(bench.engine.counts, { ping: 1, version: 1, events: 0, list: 1, inspect: 0, other: 1 });
  assert.deepEqual(bench.engine.requests, ['GET /version', 'GET /v1.41/containers/json', 'GET /nope']);
});

test('the simulated engine answers pipelined requests in order, wherever they are cut', async () => {
  await using bench = await Bench.open({ clock: () => 1_700_000_000_000 });
  const id = bench.engine.run(web);
  const paths = ['/_ping', `/v1.41/containers/${id}/json`, '/nope', '/v1.41/containers/json'];
  const text = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: d\r\nX-Y: z\r\n\r\n`).join('');
  const bodies = await Promise.all(paths.map(async (path) => (await bench.get(path)).body));
  const last = bodies.at(-1) ?? '';
  const ask = async (parts: string[], times = 1): Promise<string> => {
    const socket = connect(bench.socketPath);
    let answer = '';
    // Told by the last byte: two hundred that ask again and again would keep a busy machine from answering.
    const whole = new Promise<void>((resolve) => {
      socket.setEncoding('utf8').on('data', (part) => {
        answer += part;
        if (answer.split(last).length - 1 === times) resolve();
      });
    });
    for (const part of parts) {
      socket.write(part);
      await new Promise(setImmediate);
    }
    await eventually(() => whole);
    socket.destroy();
    return answer;
  };
  const whole = await ask([text]);
  let at = 0;
  for (const body of bodies) {
    at = whole.indexOf(body, at);
    assert.ok(at >= 0);
  }
  const cuts = Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text.slice(i + 1)]);
  for (const answer of await Promise.all(cuts.map((parts) => ask(parts)))) assert.equal(answer, whole);
  assert.equal(await ask([...text]), whole);
  assert.equal(await ask([text.repeat(3), text], 4), whole.repeat(4));
});

test('the simulated engine refuses bodies, endless heads and what is not HTTP', async () => {
  await using bench = await Bench.open();
  const ask = (text: string): Promise<string> =>
    new Promise((resolve) => {
      let answer = '';
      const socket = connect(bench.socketPath, () => socket.write(text));
      socket.on('data', (part) => {
        answer += part;
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(answer.split('\r\n')[0] ?? ''));
    });
  assert.equal(await ask('hello\r\n\r\n'), 'HTTP/1.1 400 Bad Request');
  assert.equal(await ask('GET /_ping HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'), 'HTTP/1.1 400 Bad Request');
  assert.equal(await ask(`GET /${'x'.repeat(20_000)}`), 'HTTP/1.1 431 Request Header Fields Too Large');
  assert.equal(await ask('GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n'), 'HTTP/1.1 200 OK');
});

for (const chunkBytes of [1, 7, 700]) {
  test(`the simulated engine can cut events into chunks of ${chunkBytes} bytes`, async () => {
    await using bench = await Bench.open();
    bench.engine.faults.chunkBytes = chunkBytes;
    using follower = await bench.follow();
    live(bench.engine);
    await eventually(async () => assert.equal(follower.text, await bench.pastText()));
    assert.ok(follower.parts.every((part) => part.length <= chunkBytes));
  });
}

test('the simulated engine can gather events in one chunk, and what is left over follows', async () => {
  await using bench = await Bench.open();
  bench.engine.faults.joinEvents = 10;
  using follower = await bench.follow();
  live(bench.engine);
  await eventually(async () => assert.equal(follower.text, await bench.pastText()));
  assert.deepEqual(
    follower.parts.map((part) => lines(part.toString()).length),
    [10, 10, 6],
  );
});

test('the simulated engine can cut the stream now, or after so many bytes, mid-line', async () => {
  await using bench = await Bench.open();
  using first = await bench.follow();
  bench.engine.cutEvents();
  await eventually(() => assert.equal(first.over, 'torn'));
  using second = await bench.follow();
  bench.engine.cutEvents(500);
  live(bench.engine);
  await eventually(() => assert.equal(second.over, 'torn'));
  assert.equal(second.text.length, 500);
  assert.ok((await bench.pastText()).startsWith(second.text));
  using third = await bench.follow();
  bench.engine.run({ name: 'later' });
  await eventually(() => assert.deepEqual(third.names, ['later', 'bridge', 'later']));
});

test('the simulated engine can lose, repeat and reorder events, and be silent', async () => {
  await using bench = await Bench.open();
  const { engine } = bench;
  using follower = await bench.follow('?filters={"type":["container"]}');
  const say = (name: string) => engine.create({ name });
  engine.faults.duplicateEvents = 1;
  say('twice');
  engine.faults.duplicateEvents = 0;
  engine.faults.dropEvents = 1;
  say('dropped');
  engine.faults.dropEvents = 0;
  engine.faults.reorderEvents = 1;
  say('late');
  say('early');
  engine.faults.reorderEvents = 0;
  engine.faults.silence = true;
  say('unheard');
  engine.faults.silence = false;
  say('heard');
  await eventually(() => assert.deepEqual(follower.names, ['twice', 'twice', 'early', 'late', 'heard']));
  assert.equal(engine.eventsLost, 2);
  engine.faults.reorderEvents = 1;
  say('alone');
  await eventually(() => assert.equal(follower.names.at(-1), 'alone'));
  assert.equal((await bench.past()).length, 7);
});

test('the simulated engine lets a reader that does not read lose events, and does not tell it', async () => {
  await using bench = await Bench.open();
  using follower = await bench.follow();
  follower.response.pause();
  for (let i = 0; i < 4000; i++)
    bench.engine.emit({ type: 'image', action: 'tag', id: 'sha256:1', attributes: { i: `${i}` } });
  assert.ok(bench.engine.eventsLost > 500, String(bench.engine.eventsLost));
  follower.response.resume();
  await eventually(() => assert.equal(lines(follower.text).length, 4000 - bench.engine.eventsLost));
  assert.equal(follower.over, 'open');
});

test('churn waits for a reader that is behind, unless it is to lose events', async () => {
  await using bench = await Bench.open();
  const { engine } = bench;
  using follower = await bench.follow();
  const many = { rate: 10_000, seconds: 0.05, lifetimeMs: 1 };
  follower.response.pause();
  let isOver = false;
  const churned = churn(engine, many).finally(() => {
    isOver = true;
  });
  await eventually(() => assert.ok(engine.isReaderBehind, 'Not yet'));
  assert.equal(isOver, false);
  follower.response.resume();
  assert.equal((await churned).lifecycles.length, 500);
  await eventually(() => assert.equal(lines(follower.text).length, engine.eventsPublished));
  assert.equal(engine.eventsLost, 0);

  follower.response.pause();
  await churn(engine, { ...many, unread: 'lose' });
  assert.ok(engine.eventsLost > 0, 'Nothing was lost');
});

test('the simulated engine can answer with errors, half truths and torn bodies', async () => {
  await using bench = await Bench.open();
  const { engine } = bench;
  const [good, bad] = [engine.run(), engine.run()];
  const ask = (id: string) => bench.get(`/v1.41/containers/${id}/json`);
  const { body: truth } = await ask(bad);
  engine.faults.answers = [{ on: 'inspect', body: 'message', status: 409, ids: [bad] }];
  assert.equal((await ask(good)).status, 200);
  assert.equal((await ask(bad)).status, 409);
  assert.equal((await ask(bad.slice(0, 12))).status, 409);
  engine.faults.answers = [{ on: 'list', body: 'html' }];
  const page = await bench.get('/containers/json');
  assert.deepEqual([page.status, page.headers['content-type'], page.body.slice(0, 6)], [503, 'text/html', '<html>']);
  engine.faults.answers = [{ on: 'inspect', body: 'garbage' }];
  const half = await ask(bad);
  assert.deepEqual([half.status, half.body], [200, truth.slice(0, half.body.length)]);
  assert.throws(() => JSON.parse(half.body));
  engine.faults.answers = [{ on: 'inspect', body: 'empty' }];
  assert.deepEqual([(await ask(bad)).status, (await ask(bad)).body], [200, '']);
  engine.faults.answers = [{ on: 'inspect', body: 'torn' }];
  await assert.rejects(ask(bad), /aborted/);
  engine.faults.answers = [{ on: 'events', body: 'message', status: 500 }];
  assert.equal((await bench.get('/events')).status, 500);
  engine.faults.answers = [{ on: 'ping', body: 'message', fraction: 0.5 }];
  const statuses = await Promise.all(Array.from({ length: 100 }, async () => (await bench.get('/_ping')).status));
  const failed = statuses.filter((status) => status === 500).length;
  assert.ok(failed > 25 && failed < 75, String(failed));
});

test('the simulated engine can be slow, and hang for one container alone', async () => {
  await using bench = await Bench.open();
  const { engine } = bench;
  const [good, stuck] = [engine.run(), engine.run()];
  engine.faults.hangIds = [stuck];
  const hanging = bench.get(`/containers/${stuck}/json`).catch((error: Error) => error.message);
  assert.equal((await bench.inspect(good)).Id, good);
  engine.faults.inspectDelayMs = 50;
  engine.faults.listDelayMs = 80;
  let startedAt = performance.now();
  await bench.inspect(good);
  assert.ok(performance.now() - startedAt >= 49);
  startedAt = performance.now();
  await bench.listed();
  assert.ok(performance.now() - startedAt >= 79);
  await engine.leave('missing');
  assert.equal(await hanging, 'socket hang up');
});

test('the simulated engine can be away, gone or refusing, and be back in the same place', async () => {
  await using bench = await Bench.open();
  using follower = await bench.follow();
  const id = bench.engine.run();
  await bench.engine.leave('missing');
  await eventually(() => assert.equal(follower.over, 'torn'));
  await assert.rejects(bench.get('/_ping'), { code: 'ENOENT' });
  await bench.engine.comeBack({ remembering: true });
  assert.equal((await bench.past()).length, 3);
  await bench.engine.leave('refusing');
  await assert.rejects(bench.get('/_ping'), { code: 'ECONNREFUSED' });
  bench.engine.kill(id);
  await bench.engine.comeBack();
  assert.deepEqual([await bench.listed(), await bench.past()], [[], []]);
  await bench.engine.leave('refusing');
  await bench.engine.close();
  assert.equal(existsSync(bench.socketPath), false);
});

test('the simulated engine repeats itself for the same seed', async () => {
  const run = (seed: number) => {
    const engine = new Engine({ api: '1.41', seed, clock: () => 0 });
    return [engine.run(web), engine.run(), engine.snapshot()];
  };
  assert.deepEqual(run(7), run(7));
  assert.notDeepEqual(run(7), run(8));
});

test('the simulated engine in a process of its own obeys, churns by its own clock and leaves nothing behind', async () => {
  const engine = await forkEngine({ containers: 3, api: '1.52' });
  assert.ok(existsSync(engine.socketPath));
  const [id = ''] = await engine.run([{ ...web }]);
  await engine.apply('pause', [id]);
  const snapshot = await engine.snapshot();
  assert.deepEqual(
    snapshot.map(({ name, state }) => `${name} ${state}`),
    ['simulated_1 running', 'simulated_2 running', 'simulated_3 running', 'web paused'],
  );
  assert.deepEqual(snapshot[0]?.env.at(-1), 'DISCOVER=service-0:8080');
  await assert.rejects(engine.apply('pause', [id]), /must be running, is paused/);
  const { lifecycles } = await engine.churn({ rate: 200, seconds: 0.2, lifetimeMs: 30, survivors: 0.2 });
  assert.equal(lifecycles.length, 40);
  const survived = lifecycles.filter(({ endedMs }) => endedMs === undefined);
  assert.equal(survived.length, 8);
  assert.ok(lifecycles.every(({ startedMs, endedMs = startedMs + 30 }) => endedMs - startedMs >= 29));
  assert.ok(lifecycles.every(({ ports }) => (ports['8080/tcp'] ?? 0) >= 32_768));
  assert.equal((await engine.snapshot()).length, 4 + 8);
  await engine.setFaults({ silence: true });
  assert.deepEqual(await engine.counts(), {
    ...{ ping: 0, version: 0, events: 0, list: 0, inspect: 0, other: 0 },
    ...{ streams: 0, eventsLost: 0 },
  });
  await engine.close();
  assert.throws(() => process.kill(engine.pid, 0), { code: 'ESRCH' });
  assert.equal(existsSync(engine.socketPath), false);
  await assert.rejects(engine.snapshot(), /has ended/);
});

test('the simulated engine ends with the process that forked it, even one killed hard', async () => {
  const client = new URL('../../bench/engine/client.ts', import.meta.url);
  const script = `
    const { forkEngine } = await import(${JSON.stringify(client.href)});
    const engine = await forkEngine();
    console.log(JSON.stringify([engine.pid, engine.socketPath]));
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, [...typescript, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [pid, socketPath] = await new Promise<[number, string]>((resolve) => {
    parent.stdout.once('data', (text) => resolve(JSON.parse(String(text))));
  });
  assert.ok(existsSync(socketPath));
  parent.kill('SIGKILL');
  await eventually(() => assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' }));
  assert.equal(existsSync(socketPath), false);
});
