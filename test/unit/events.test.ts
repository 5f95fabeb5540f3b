/** From the bytes of an event stream to what concerns discover. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type ContainerEvent, ObjectSplitter, readEvent } from '../../src/docker/events.ts';

const id = 'a1'.repeat(32);
const network = 'b2'.repeat(32);

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

function split(chunks: readonly Buffer[], bytesMax?: number): { objects: string[]; oversize: number } {
  const found = { objects: [] as string[], oversize: 0 };
  const splitter = new ObjectSplitter(
    (text) => found.objects.push(text),
    () => found.oversize++,
    bytesMax,
  );
  for (const chunk of chunks) splitter.push(chunk);
  return found;
}

const fixtures = new URL('../fixtures/', import.meta.url);
/** The engines that were recorded, and what was derived from one. */
const engines = readdirSync(fixtures).filter((name) => /^(dockerd|podman|api)-/.test(name));

function recording(name: string): Buffer {
  return readFileSync(new URL(`${name}.jsonl`, fixtures));
}

describe('ObjectSplitter', () => {
  const objects = [
    { a: 'größe 🚀', at: 1 },
    { text: 'braces } { and "quotes" and \\ and \\"', nested: { deep: [{}, { b: '}' }] } },
    {},
    { end: 'é' },
  ].map((object) => JSON.stringify(object));
  const lines = Buffer.from(objects.map((object) => `${object}\n`).join(''));

  test('finds the same objects wherever the stream is cut', () => {
    for (let cut = 0; cut <= lines.length; cut++) {
      assert.deepEqual(split([lines.subarray(0, cut), lines.subarray(cut)]).objects, objects, `cut at ${cut}`);
    }
  });

  test('finds the same objects wherever the stream is cut twice', () => {
    for (let first = 0; first <= lines.length; first++) {
      for (let second = first; second <= lines.length; second += 3) {
        const chunks = [lines.subarray(0, first), lines.subarray(first, second), lines.subarray(second)];
        assert.deepEqual(split(chunks).objects, objects, `cut at ${first} and ${second}`);
      }
    }
  });

  test('finds the same objects byte by byte', () => {
    assert.deepEqual(split([...lines].map((byte) => Buffer.of(byte))).objects, objects);
  });

  for (const engine of engines) {
    test(`finds every event of a recording of ${engine}, whatever the size of the chunks`, () => {
      const bytes = recording(`${engine}/events-life`);
      const expected = bytes.toString().trim().split('\n');
      for (const size of [1, 7, 64, 1_000, 4_096, 1 << 20]) {
        const chunks: Buffer[] = [];
        for (let start = 0; start < bytes.length; start += size) chunks.push(bytes.subarray(start, start + size));
        assert.deepEqual(split(chunks).objects, expected, `chunks of ${size}`);
      }
    });
  }

  test('tells objects apart that no newline separates', () => {
    assert.deepEqual(split([Buffer.from(objects.join(''))]).objects, objects);
  });

  test('passes over record separators, blank lines and other bytes between objects', () => {
    for (const between of ['\x1e', '\n\x1e', '\r\n', '\n\n\n', ' , ', 'null\n', '}', '"', ']\\']) {
      const bytes = Buffer.from(objects.map((object) => between + object).join(''));
      assert.deepEqual(split([bytes]).objects, objects, JSON.stringify(between));
    }
  });

  test('finds the same objects where lines are not objects', () => {
    const odd = ['{"a":{}\n,"b":{}}', '{"a":"} {"}', '{"a":"}{"}', '{"a":"{"}', '{"a":"}"}'];
    const pretty = objects.map((object) => JSON.stringify(JSON.parse(object), undefined, 2));
    const all = [...odd, ...pretty, ...objects];
    assert.deepEqual(split([Buffer.from(all.join('\n'))]).objects, all);
    assert.deepEqual(split([Buffer.from(`${all.join('')}\n`)]).objects, all);
  });

  test('hands out nothing of an object that is not finished', () => {
    assert.deepEqual(split([lines.subarray(0, -2)]).objects, objects.slice(0, -1));
  });

  test('keeps an object of exactly the size that is allowed', () => {
    const found = split([Buffer.from('{"a":123}')], 9);
    assert.deepEqual(found, { objects: ['{"a":123}'], oversize: 0 });
  });

  test('skips and reports an object that is too large, wherever it is cut, and goes on with the next', () => {
    const bytes = Buffer.from(`{"a":1}{"big":"${'x'.repeat(50)}"}{"b":2}`);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const found = split([bytes.subarray(0, cut), bytes.subarray(cut)], 20);
      assert.deepEqual(found, { objects: ['{"a":1}', '{"b":2}'], oversize: 1 }, `cut at ${cut}`);
    }
    const found = split(
      [...bytes].map((byte) => Buffer.of(byte)),
      20,
    );
    assert.deepEqual(found, { objects: ['{"a":1}', '{"b":2}'], oversize: 1 });
  });

  test('reports each of several objects that are too large', () => {
    const big = `{"big":"${'x'.repeat(50)}"}`;
    assert.deepEqual(split([Buffer.from(`${big}${big}{}`)], 20), { objects: ['{}'], oversize: 2 });
  });

  test('skips an event with labels of a megabyte, and reads one with labels of 100 KB', () => {
    const event = (bytes: number) => JSON.stringify({ Actor: { Attributes: { label: 'x'.repeat(bytes) } } });
    const found = split([Buffer.from(event(1 << 20) + event(100_000))]);
    assert.deepEqual([found.objects.length, found.oversize], [1, 1]);
  });

  test('does not keep what it skips', async () => {
    const splitter = new ObjectSplitter(assert.fail, () => {}, 1_000);
    splitter.push(Buffer.from('{"big":"'));
    const chunks: WeakRef<ArrayBufferLike>[] = [];
    for (let n = 0; n < 20; n++) {
      const chunk = Buffer.alloc(100_000, 'x');
      chunks.push(new WeakRef(chunk.buffer));
      splitter.push(chunk);
    }
    await turn();
    collectGarbage();
    assert.ok(chunks.filter((chunk) => chunk.deref() !== undefined).length <= 1);
    splitter.push(Buffer.from('"'));
  });
});

describe('readEvent', () => {
  const at = 1_795_460_830_597_072_400;
  const old = (action: string) => ({ status: action, id, from: 'app:1', Type: 'container', Action: action });
  const actor = { ID: id, Attributes: { image: 'app:1', name: 'web' } };
  const read = (event: unknown) => readEvent(JSON.stringify(event));
  const shapes: [string, (action: string) => object][] = [
    ['before API 1.22', (action) => ({ status: action, id, from: 'app:1', time: 5, timeNano: at })],
    ['of API 1.41', (action) => ({ ...old(action), Actor: actor, scope: 'local', time: 5, timeNano: at })],
    ['of API 1.52', (action) => ({ Type: 'container', Action: action, Actor: actor, time: 5, timeNano: at })],
  ];

  for (const [name, shape] of shapes) {
    test(`reads the events ${name}`, () => {
      assert.deepEqual(read(shape('start')), { kind: 'inspect', id, at });
      assert.deepEqual(read(shape('restart')), { kind: 'killed', id, at, signal: 0, isStart: true });
      assert.deepEqual(read(shape('stop')), { kind: 'killed', id, at, signal: 0, isStart: false });
      assert.deepEqual(read(shape('die')), { kind: 'died', id, at });
      assert.deepEqual(read(shape('destroy')), { kind: 'died', id, at });
    });

    test(`has no interest in the other events ${name}`, () => {
      for (const action of ['create', 'exec_start: sh', 'exec_die', 'top']) {
        assert.equal(read(shape(action)), undefined, action);
      }
    });
  }

  test('takes a change of state for a reason to look at a container that is known', () => {
    for (const action of ['pause', 'unpause', 'checkpoint', 'rename']) {
      assert.deepEqual(read({ Type: 'container', Action: action, Actor: actor, timeNano: at }), {
        kind: 'moved',
        id,
        at,
      });
    }
    const restored = read({ Type: 'container', Action: 'restore', Actor: actor, timeNano: at });
    assert.deepEqual(restored, { kind: 'inspect', id, at });
  });

  test('reads the number of a signal, and 0 where the engine says none', () => {
    const kill = (signal?: unknown) =>
      read({ Type: 'container', Action: 'kill', Actor: { ID: id, Attributes: { signal } }, timeNano: at });
    for (const [signal, number] of [
      ['15', 15],
      ['SIGHUP', 1],
      [9, 9],
      [undefined, 0],
      ['nonsense', 0],
    ] as const) {
      assert.deepEqual(kill(signal), { kind: 'killed', id, at, signal: number, isStart: false });
    }
  });

  test("reads health in Docker's form and in Podman's", () => {
    const health = (Action: string, HealthStatus?: string) =>
      read({ Type: 'container', Action, Actor: actor, HealthStatus, timeNano: at });
    const moved = { kind: 'moved', id, at } as const;
    assert.deepEqual(health('health_status: unhealthy'), { ...moved, health: 'unhealthy' });
    assert.deepEqual(health('health_status', 'healthy'), { ...moved, health: 'healthy' });
    assert.deepEqual(health('health_status'), { ...moved, health: undefined });
    assert.deepEqual(health('health_status: odd'), { ...moved, health: undefined });
  });

  test('reads a long command of an exec in one pass, whatever is in it and behind it', () => {
    const fastest = (work: () => void): number => {
      const times = Array.from({ length: 3 }, () => {
        const began = performance.now();
        work();
        return performance.now() - began;
      });
      return Math.min(...times);
    };
    for (const unit of [' ', 'x', '\\\\', ': ']) {
      const action = `exec_create: ${unit.repeat(50_000)}`;
      const told = `{"Type":"container","Action":"${action}","Actor":{"ID":"${id}","Attributes":{}},"timeNano":1}`;
      // More than one pass would be 50,000.
      assert.ok(fastest(() => readEvent(told)) < 2_000 * fastest(() => JSON.parse(told)), JSON.stringify(unit));
    }
  });

  test('takes the exit code of a stop for a sign of one, from Podman alone', () => {
    const death = (exitCode: string) =>
      JSON.stringify({
        ...old('die'),
        Actor: { ID: id, Attributes: { exitCode } },
        scope: 'local',
        time: 5,
        timeNano: at,
      });
    for (const code of ['0', '130', '137', '143'])
      assert.deepEqual(readEvent(death(code), true), { kind: 'died', id, at, isAsked: true }, code);
    for (const code of ['1', '2', '134', '139', '-1', ''])
      assert.deepEqual(readEvent(death(code), true), { kind: 'died', id, at }, code);
    assert.deepEqual(readEvent(death('0')), { kind: 'died', id, at });
  });

  test("takes Podman's names for the end of a container", () => {
    for (const action of ['died', 'remove']) {
      assert.deepEqual(read({ Type: 'container', Action: action, Actor: actor, timeNano: at }), {
        kind: 'died',
        id,
        at,
      });
    }
  });

  test('takes a network event for a move of the container it names, not of the network', () => {
    for (const action of ['connect', 'disconnect']) {
      const Attributes = { container: id, name: 'bridge', type: 'bridge' };
      const event = { Type: 'network', Action: action, Actor: { ID: network, Attributes }, timeNano: at };
      assert.deepEqual(read(event), { kind: 'moved', id, at });
    }
  });

  test("takes Podman's network event, which has the container where Docker's has the network, for a move of it", () => {
    for (const action of ['connect', 'disconnect']) {
      const event = { Type: 'network', Action: action, Actor: { ID: id, Attributes: { name: 'web' } }, timeNano: at };
      assert.deepEqual(read(event), { kind: 'moved', id, at });
    }
  });

  test('has no interest in other events of networks', () => {
    const Attributes = { container: id, name: 'bridge' };
    for (const action of ['create', 'destroy', 'remove', 'start', 'die']) {
      assert.equal(read({ Type: 'network', Action: action, Actor: { ID: network, Attributes } }), undefined, action);
    }
    assert.equal(read({ Type: 'network', Action: 'connect' }), undefined);
  });

  test('has no interest in events of other things, whatever their id', () => {
    for (const Type of ['image', 'volume', 'daemon', 'plugin', 'pod', '', null, 7]) {
      assert.equal(read({ Type, Action: 'start', Actor: actor }), undefined, String(Type));
      assert.equal(read({ Type, Action: 'remove', Actor: actor }), undefined, String(Type));
    }
  });

  test('takes nothing but 64 lower-case digits for the id of a container', () => {
    const wrong = [
      undefined,
      null,
      7,
      {},
      '',
      'web',
      id.slice(0, 12),
      id.slice(1),
      `${id}0`,
      id.toUpperCase(),
      `${id}\n`,
    ];
    for (const ID of wrong) {
      assert.equal(read({ Type: 'container', Action: 'start', Actor: { ID } }), undefined, String(ID));
      // Without one it is Podman's event, whose actor is the container.
      const Attributes = { container: ID ?? '' };
      assert.equal(read({ Type: 'network', Action: 'connect', Actor: { ID: network, Attributes } }), undefined);
    }
  });

  test('takes whole seconds where the engine says no more, and 0 where it says nothing', () => {
    const event = { Type: 'container', Action: 'start', Actor: actor };
    assert.deepEqual(read({ ...event, time: 1_795_460_830 }), { kind: 'inspect', id, at: 1_795_460_830e9 });
    assert.deepEqual(read(event), { kind: 'inspect', id, at: 0 });
    assert.deepEqual(read({ ...event, time: 'soon', timeNano: null }), { kind: 'inspect', id, at: 0 });
  });

  test('takes a time that no engine can write for none', () => {
    const event = `{"Type":"container","Action":"die","Actor":{"ID":"${id}"},"timeNano":`;
    for (const time of ['1e999', '9223372036854775808', '-1', '-1e999', '-0']) {
      assert.deepEqual(readEvent(`${event}${time}}`), { kind: 'died', id, at: 0 }, time);
    }
  });

  test('calls unreadable what is not JSON', () => {
    for (const text of ['{', '{"a":}', "{'a':1}", '{\x00}', '{"Type":"container"', '']) {
      assert.deepEqual(readEvent(text), { kind: 'unreadable' }, text);
    }
  });

  test('has no interest in JSON that is no event', () => {
    const others = [
      null,
      true,
      7,
      'start',
      [],
      [{}],
      {},
      { Type: 'container' },
      { Actor: null },
      { Actor: 'x', Action: 'start' },
    ];
    for (const other of others) assert.equal(read(other), undefined, JSON.stringify(other));
    assert.equal(read({ Type: 'container', Action: { toString: 'start' }, Actor: actor }), undefined);
    assert.equal(readEvent('{"__proto__":{"Type":"container","Action":"start"},"Actor":{}}'), undefined);
  });

  test('finds the same in recordings of both APIs', () => {
    const eventsOf = (name: string): (ContainerEvent | undefined)[] =>
      recording(name)
        .toString()
        .trim()
        .split('\n')
        .map((line) => readEvent(line));
    const life = eventsOf('dockerd-20.10.24/events-life');
    assert.deepEqual(life, eventsOf('api-1.52-derived/events-life'));
    assert.ok(life.some((event) => event?.kind === 'inspect'));
    assert.ok(life.some((event) => event?.kind === 'moved'));
    assert.ok(life.some((event) => event?.kind === 'died'));
    for (const event of life) if (event && 'at' in event) assert.ok(event.at > 1.7e18);
  });

  /** What became of a container, in order: it runs, it may have moved, it is gone. Repetitions are left out. */
  const storyOf = (name: string): string[] => {
    const events = recording(name)
      .toString()
      .trim()
      .split('\n')
      .map((line) => readEvent(line));
    const kinds = events.flatMap((event) => (event === undefined ? [] : [event.kind]));
    return kinds.filter((kind, index) => kind !== kinds[index - 1]);
  };
  const [runs, moves, ends] = ['inspect', 'moved', 'died'];
  for (const engine of engines.filter((name) => !name.startsWith('api-'))) {
    test(`takes from the recordings of ${engine} that a container has left a network or joined one`, () => {
      const lines = recording(`${engine}/events-life`).toString().trim().split('\n');
      const [created = ''] = lines;
      const container = (JSON.parse(created) as { Actor: { ID: string } }).Actor.ID;
      const told = lines.filter((line) => line.includes('"Type":"network"')).map((line) => readEvent(line));
      assert.ok(told.length >= 2, `Only ${told.length} events of networks`);
      for (const event of told) {
        assert.ok(event?.kind === 'moved' && event.id === container, JSON.stringify(event));
      }
    });

    test(`takes from the recordings of ${engine} each start and each end, in order`, () => {
      const life = storyOf(`${engine}/events-life`);
      // The end of the first run, of the second and of the third, and a start before each of them.
      const turns = life
        .filter((kind) => kind === runs || kind === ends)
        .filter((kind, index, all) => kind !== all[index - 1]);
      assert.deepEqual(turns, [runs, ends, runs, ends, runs, ends]);
      assert.ok(life.includes(moves ?? ''));
      for (const name of ['auto-remove', 'exit-auto-remove', 'exit', 'remove-force-host-network']) {
        const told = storyOf(`${engine}/events-${name}`).filter((kind) => kind === runs || kind === ends);
        assert.deepEqual([told[0], told.at(-1)], [runs, ends], name);
      }
      const crashes = storyOf(`${engine}/events-crash-loop`).filter((kind) => kind === ends).length;
      assert.ok(crashes >= 3, `Only ${crashes} ends`);
      assert.deepEqual(
        storyOf(`${engine}/events-created`).filter((kind) => kind === runs),
        [],
      );
    });
  }
});
