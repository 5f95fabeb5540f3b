/** How actors are run: batches, crashes, and the way to the end. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Actor, Mailbox, Ref, Self } from '../../src/actor/actor.ts';
import { FifoMailbox, KeyedMailbox } from '../../src/actor/mailbox.ts';
import { Supervisor } from '../../src/actor/supervisor.ts';
import type { DiscoverError } from '../../src/errors.ts';
import { BaseStage } from '../helpers/stage.ts';
import { startActor } from '../helpers/start-actor.ts';

type Receive = (batch: readonly string[], incarnation: number) => ReturnType<Actor<string>['receive']>;

interface Wanted {
  readonly name?: string;
  readonly mailbox?: Mailbox<string>;
  readonly concurrency?: number;
  readonly batchMax?: number;
  readonly inFlightMax?: number;
  readonly receive?: Receive;
  readonly stop?: () => void | Promise<void>;
  readonly onStart?: (incarnation: number) => void;
}

class Stage extends BaseStage {
  readonly fatal: DiscoverError[] = [];
  readonly supervisor = new Supervisor(this.clock, this.log, (error) => this.fatal.push(error));

  start(wanted: Wanted): Child {
    return new Child(this.supervisor, wanted);
  }

  messages(): string[] {
    return this.log.entries.map(({ message }) => message);
  }
}

/** A child that notes what happens to it. */
class Child {
  readonly mailbox: Mailbox<string>;
  readonly batches: string[] = [];
  readonly signals: AbortSignal[] = [];
  readonly ref: Ref<string>;
  self: Self<string> | undefined;

  constructor(supervisor: Supervisor, wanted: Wanted) {
    const { name = 'child', receive = () => {}, stop, onStart, concurrency = 1, batchMax = 10, inFlightMax } = wanted;
    this.mailbox = wanted.mailbox ?? new FifoMailbox<string>();
    this.ref = startActor<string>(supervisor, {
      name,
      mailbox: this.mailbox,
      concurrency,
      batchMax,
      ...(inFlightMax !== undefined && { inFlightMax }),
      stopTimeoutMs: 1_000,
      start: (self, signal) => {
        this.self = self;
        const incarnation = this.signals.push(signal);
        onStart?.(incarnation);
        return {
          receive: (batch) => {
            this.batches.push(batch.join(' '));
            return receive(batch, incarnation);
          },
          ...(stop && { stop }),
        };
      },
    });
  }

  get incarnations(): number {
    return this.signals.length;
  }

  tell(...messages: string[]): void {
    for (const message of messages) this.ref.tell(message);
  }
}

/** Work that ends when the test says so. */
function gates(): { pass: (value?: readonly string[]) => void; fail: (error: Error) => void; wait: Receive } {
  const open: { resolve: (value: readonly string[]) => void; reject: (error: Error) => void }[] = [];
  return {
    wait: () => new Promise<readonly string[]>((resolve, reject) => void open.push({ resolve, reject })),
    pass: (value = []) => open.shift()?.resolve(value),
    fail: (error) => open.shift()?.reject(error),
  };
}

const keyed = () => new KeyedMailbox<string>((key) => key);

function crashOn(poison: string): Receive {
  return (batch) => {
    if (batch.includes(poison)) throw new Error(`crashed on ${poison}`);
  };
}

describe('Supervisor hands over batches and', () => {
  test('gathers what is told in one turn', async () => {
    const stage = new Stage();
    const child = stage.start({});
    child.tell('a', 'b', 'c');
    assert.deepEqual(child.batches, [], 'tell never runs the actor itself');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a b c']);
  });

  test('makes no batch larger than batchMax', async () => {
    const stage = new Stage();
    const child = stage.start({ batchMax: 2 });
    child.tell('a', 'b', 'c', 'd', 'e');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a b', 'c d', 'e']);
  });

  test('lets what is told meanwhile gather while one batch is handled', async () => {
    const stage = new Stage();
    const gate = gates();
    const child = stage.start({ receive: gate.wait });
    child.tell('a');
    await stage.clock.settle();
    child.tell('b');
    await stage.clock.settle();
    child.tell('c');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a']);
    gate.pass();
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b c']);
  });

  test('handles as many batches at once as concurrency says', async () => {
    const stage = new Stage();
    const gate = gates();
    const child = stage.start({ receive: gate.wait, mailbox: keyed(), concurrency: 2, batchMax: 1 });
    child.tell('a', 'b', 'c');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b']);
    gate.pass();
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b', 'c']);
  });

  test('takes none while inFlightMax messages are in flight', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: async (batch) => batch, mailbox: keyed(), batchMax: 1, inFlightMax: 2 });
    child.tell('a', 'b', 'c');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b']);
    child.self?.done('b');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b', 'c']);
  });

  test('ends the flight of what was handled', async () => {
    const stage = new Stage();
    const child = stage.start({ mailbox: keyed() });
    child.tell('a', 'b');
    await stage.clock.settle();
    assert.equal(child.mailbox.inFlight, 0);
  });

  test('keeps in flight what was handed back as under way, and goes on meanwhile', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: async (batch) => batch.filter((key) => key === 'slow'), mailbox: keyed() });
    child.tell('slow', 'a');
    await stage.clock.settle();
    assert.equal(child.mailbox.inFlight, 1);
    child.tell('slow', 'b');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['slow a', 'b']);
  });

  test('gives a message its turn once what was under way is done', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: async (batch) => batch, mailbox: keyed() });
    child.tell('slow');
    await stage.clock.settle();
    child.tell('slow');
    await stage.clock.settle();
    child.self?.done('slow');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['slow', 'slow']);
  });
});

describe('Supervisor meets a crash and', () => {
  test('starts the actor again after a back-off', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    child.tell('poison');
    await stage.clock.settle();
    assert.equal(child.incarnations, 1);
    await stage.clock.advance(49);
    assert.equal(child.incarnations, 1);
    await stage.clock.advance(51);
    assert.equal(child.incarnations, 2);
  });

  test('aborts the signal of the incarnation that is over, and of no other', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    child.tell('poison');
    await stage.clock.advance(1_000);
    assert.deepEqual(
      child.signals.map(({ aborted }) => aborted),
      [true, false],
    );
  });

  test('logs it with the name of the actor', async () => {
    const stage = new Stage();
    stage.start({ name: 'clerk', receive: crashOn('poison') }).tell('poison');
    await stage.clock.settle();
    const { stack, ...fields } = (stage.log.entries[0]?.fields ?? {}) as { stack?: unknown };
    assert.match(String(stack), /^Error: crashed on poison\n/);
    assert.deepEqual(fields, { actor: 'clerk', error: 'crashed on poison' });
    assert.deepEqual([stage.log.entries[0]?.level, stage.log.entries[0]?.message], ['error', 'actor crashed']);
  });

  test('takes a rejection like a throw', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: async (batch) => crashOn('poison')(batch, 1) });
    child.tell('poison');
    await stage.clock.advance(1_000);
    assert.equal(child.incarnations, 2);
  });

  test('takes a failure to start like a throw, and waits longer each time', async () => {
    const stage = new Stage();
    const startedAt: number[] = [];
    const child = stage.start({
      onStart: (incarnation) => {
        startedAt.push(stage.clock.now());
        if (incarnation < 5) throw new Error('not yet');
      },
    });
    child.tell('a');
    await stage.clock.advance(10_000);
    assert.deepEqual(child.batches, ['a']);
    const waits = startedAt.slice(1).map((at, index) => at - (startedAt[index] as number));
    assert.equal(waits.length, 4);
    for (const [index, wait] of waits.entries()) {
      const ceiling = 100 * 2 ** index;
      assert.ok(wait >= ceiling / 2 && wait <= ceiling, `${wait} of ${ceiling}`);
    }
  });

  test('hands the batch to the next incarnation one message at a time', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: (batch) => crashOn(batch.length > 1 ? 'b' : '')(batch, 1) });
    child.tell('a', 'b', 'c');
    await stage.clock.advance(1_000);
    assert.deepEqual(child.batches, ['a b c', 'a', 'b', 'c']);
    assert.equal(child.mailbox.inFlight, 0);
  });

  test('hands over what was told meanwhile only after the suspects', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: (batch) => crashOn(batch.length === 2 ? 'b' : '')(batch, 1) });
    child.tell('a', 'b');
    await stage.clock.settle();
    child.tell('c', 'd', 'e');
    await stage.clock.advance(1_000);
    assert.deepEqual(child.batches, ['a b', 'a', 'b', 'c d e']);
  });

  test('drops a message that crashes its actor alone, and no other', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison'), mailbox: keyed() });
    child.tell('a', 'poison', 'b');
    await stage.clock.advance(1_000);
    assert.deepEqual(child.batches, ['a poison b', 'a', 'poison', 'b']);
    assert.deepEqual([child.mailbox.size, child.mailbox.inFlight], [0, 0]);
    assert.ok(stage.messages().includes('message dropped: it crashed its actor'));
  });

  test('gives a dropped message another turn when it is told again', async () => {
    const stage = new Stage();
    const child = stage.start({
      receive: (batch, incarnation) => crashOn(incarnation === 1 ? 'a' : '')(batch, 1),
      mailbox: keyed(),
    });
    child.tell('a');
    await stage.clock.advance(1_000);
    child.tell('a');
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'a']);
  });

  test('hands out nothing until the actor is there again', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    child.tell('poison');
    await stage.clock.settle();
    child.tell('a');
    await stage.clock.advance(49);
    assert.deepEqual(child.batches, ['poison']);
    await stage.clock.advance(51);
    assert.deepEqual(child.batches, ['poison', 'a']);
  });

  test('takes a crash that is reported from outside receive like a throw', async () => {
    const stage = new Stage();
    const child = stage.start({});
    child.self?.crash(new Error('stream'));
    await stage.clock.advance(1_000);
    assert.equal(child.incarnations, 2);
    assert.deepEqual(
      child.signals.map(({ aborted }) => aborted),
      [true, false],
    );
  });

  test('starts the actor once, however often one incarnation reports a crash', async () => {
    const stage = new Stage();
    const child = stage.start({});
    const { self } = child;
    self?.crash(new Error('stream'));
    self?.crash(new Error('timer'));
    await stage.clock.advance(1_000);
    assert.equal(child.signals.filter(({ aborted }) => !aborted).length, 1, 'one incarnation lives');
  });

  test('goes on once a batch of the incarnation that is over has failed too', async () => {
    const stage = new Stage();
    const gate = gates();
    const child = stage.start({
      receive: (batch, incarnation) => (incarnation === 1 ? gate.wait(batch, 1) : undefined),
    });
    child.tell('a');
    await stage.clock.settle();
    child.self?.crash(new Error('stream'));
    await stage.clock.advance(1_000);
    child.tell('b');
    await stage.clock.settle();
    gate.fail(new Error('aborted'));
    await stage.clock.settle();
    assert.equal(child.batches.at(-1), 'b');
  });

  test('goes on once a batch of the incarnation that is over has succeeded', async () => {
    const stage = new Stage();
    const gate = gates();
    const child = stage.start({
      receive: (batch, incarnation) => (incarnation === 1 ? gate.wait(batch, 1) : undefined),
    });
    child.tell('a');
    await stage.clock.settle();
    child.self?.crash(new Error('stream'));
    await stage.clock.advance(1_000);
    child.tell('b');
    gate.pass();
    await stage.clock.settle();
    assert.deepEqual(child.batches, ['a', 'b']);
    assert.equal(child.incarnations, 2);
  });

  test('does not discard the next incarnation when a batch of the one before fails', async () => {
    const stage = new Stage();
    const gate = gates();
    const receive: Receive = (batch, incarnation) => (incarnation === 1 ? gate.wait(batch, 1) : undefined);
    const child = stage.start({ receive, mailbox: keyed(), concurrency: 2, batchMax: 1 });
    child.tell('a', 'b');
    await stage.clock.settle();
    gate.fail(new Error('first'));
    await stage.clock.advance(1_000);
    gate.fail(new Error('second'));
    await stage.clock.advance(1_000);
    assert.equal(child.incarnations, 2);
  });

  test('hands over the suspects although they alone are as many as inFlightMax', async () => {
    const stage = new Stage();
    const receive = (batch: readonly string[]) => crashOn(batch.length > 1 ? 'b' : '')(batch, 1);
    const child = stage.start({ receive, mailbox: keyed(), batchMax: 2, inFlightMax: 2 });
    child.tell('a', 'b');
    await stage.clock.advance(1_000);
    assert.deepEqual(child.batches, ['a b', 'a', 'b']);
  });
});

describe('Supervisor gives up and', () => {
  test('reports it when an actor crashes for the eleventh time in a minute', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    for (let n = 0; n < 10; n++) {
      child.tell('poison');
      await stage.clock.advance(5_400);
    }
    assert.equal(stage.fatal.length, 0);
    child.tell('poison');
    await stage.clock.settle();
    assert.deepEqual(
      stage.fatal.map(({ code }) => code),
      ['RESTARTS_EXCEEDED'],
    );
    assert.match(stage.fatal[0]?.message ?? '', /^Actor child crashed 11 times within 60 s$/);
  });

  test('counts the crashes of all actors together', async () => {
    const stage = new Stage();
    const children = ['one', 'two'].map((name) => stage.start({ name, receive: crashOn('poison') }));
    for (let n = 0; n < 11; n++) {
      children[n % 2]?.tell('poison');
      await stage.clock.advance(1_000);
    }
    assert.equal(stage.fatal.length, 1);
  });

  test('does not report crashes that are far enough apart', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    for (let n = 0; n < 30; n++) {
      child.tell('poison');
      await stage.clock.advance(6_100);
    }
    assert.equal(stage.fatal.length, 0);
  });

  test('reports it once, however long the actor goes on crashing', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    for (let n = 0; n < 40; n++) {
      child.tell('poison');
      await stage.clock.advance(5_500);
    }
    assert.equal(stage.fatal.length, 1);
  });
});

describe('Supervisor stops and', () => {
  test('stops the last started first, each before the one it tells', async () => {
    const stage = new Stage();
    const stopped: string[] = [];
    for (const name of ['sink', 'middle', 'source']) {
      const stop = async () => {
        stopped.push(`${name} begins`);
        await undefined;
        stopped.push(`${name} ends`);
      };
      stage.start({ name, stop });
    }
    await stage.supervisor.stop();
    assert.deepEqual(stopped, [
      'source begins',
      'source ends',
      'middle begins',
      'middle ends',
      'sink begins',
      'sink ends',
    ]);
  });

  test('lets each finish what it was told, also by the one stopped before', async () => {
    const stage = new Stage();
    const sink = stage.start({ name: 'sink', batchMax: 1 });
    const source = stage.start({
      name: 'source',
      receive: (batch) => sink.tell(...batch),
      stop: () => sink.tell('last'),
    });
    source.tell('a', 'b');
    await stage.supervisor.stop();
    assert.deepEqual(sink.batches, ['a', 'b', 'last']);
  });

  test('waits for the batch under way before it calls stop', async () => {
    const stage = new Stage();
    const gate = gates();
    const events: string[] = [];
    const receive: Receive = async (batch, incarnation) => {
      await gate.wait(batch, incarnation);
      events.push('handled');
    };
    const child = stage.start({ receive, stop: () => void events.push('stopped') });
    child.tell('a');
    await stage.clock.settle();
    const stop = stage.supervisor.stop();
    await stage.clock.settle();
    assert.deepEqual(events, []);
    gate.pass();
    await stop;
    assert.deepEqual(events, ['handled', 'stopped']);
  });

  test('aborts the signal only after stop has settled', async () => {
    const stage = new Stage();
    let wasAborted: boolean | undefined;
    const child = stage.start({
      stop: () => {
        wasAborted = child.signals[0]?.aborted;
      },
    });
    await stage.supervisor.stop();
    assert.equal(wasAborted, false);
    assert.equal(child.signals[0]?.aborted, true);
  });

  test('leaves a child that does not stop in time, and stops the others', async () => {
    const stage = new Stage();
    const stopped: string[] = [];
    stage.start({ name: 'sink', stop: () => void stopped.push('sink') });
    const stuck = stage.start({ name: 'stuck', stop: () => new Promise<void>(() => {}) });
    const stop = stage.supervisor.stop();
    await stage.clock.advance(999);
    assert.deepEqual(stopped, []);
    await stage.clock.advance(1);
    await stop;
    assert.deepEqual(stopped, ['sink']);
    assert.equal(stuck.signals[0]?.aborted, true);
    assert.deepEqual(stage.log.entries, [
      { level: 'warn', fields: { actor: 'stuck', error: 'timeout' }, message: 'actor did not stop in time' },
    ]);
  });

  test('does not wait for ever for a batch that never ends', async () => {
    const stage = new Stage();
    stage.start({ receive: () => new Promise(() => {}) }).tell('a');
    await stage.clock.settle();
    const stop = stage.supervisor.stop();
    await stage.clock.advance(1_000);
    await stop;
  });

  test('logs a stop that fails and goes on', async () => {
    const stage = new Stage();
    const stopped: string[] = [];
    stage.start({ name: 'sink', stop: () => void stopped.push('sink') });
    stage.start({ name: 'broken', stop: () => Promise.reject(new Error('no')) });
    await stage.supervisor.stop();
    assert.deepEqual(stopped, ['sink']);
    assert.deepEqual(stage.messages(), ['actor did not stop in time']);
  });

  test('starts no crashed actor again', async () => {
    const stage = new Stage();
    const child = stage.start({ receive: crashOn('poison') });
    child.tell('poison');
    await stage.clock.settle();
    const stop = stage.supervisor.stop();
    await stage.clock.advance(5_000);
    await stop;
    assert.equal(child.incarnations, 1);
  });

  test('hands over nothing that is told afterwards', async () => {
    const stage = new Stage();
    const child = stage.start({});
    await stage.supervisor.stop();
    child.tell('a');
    await stage.clock.advance(1_000);
    assert.deepEqual(child.batches, []);
  });

  test('leaves no timer', async () => {
    const stage = new Stage();
    const child = stage.start({});
    child.tell('a');
    await stage.supervisor.stop();
    assert.equal(stage.clock.pending, 0);
  });
});
