/** What a look, a death, a list or a reading changes in what etcd should hold, and what it does not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ContainerId, Inspection, Refusal } from '../../src/container/container.ts';
import type { Mark } from '../../src/container/maintenance.ts';
import type { Traffic } from '../../src/container/traffic.ts';
import { type Held, ours } from '../../src/layout/held.ts';
import { layoutOf } from '../../src/layout/keys.ts';
import type { PublishPolicy } from '../../src/lifecycle/deserves.ts';
import type { ReconcilerMessage } from '../../src/lifecycle/observation.ts';
import { Sequence } from '../../src/lifecycle/sequence.ts';
import type { State } from '../../src/lifecycle/state.ts';
import { total } from '../../src/metrics.ts';
import { Conditions } from '../../src/reconcile/conditions.ts';
import { Ledger } from '../../src/reconcile/ledger.ts';
import { Reconciler, type ReconcilerParts } from '../../src/reconcile/reconciler.ts';
import { BaseStage } from '../helpers/stage.ts';
import { defaultConfig } from '../sim/config.ts';
import { idOf } from '../sim/docker.ts';

const layout = layoutOf('/p', 'r', 'h');
const [c1, c2, c3] = [idOf(1), idOf(2), idOf(3)];

function running(startedAt: number, port = 1_000, refusals: readonly Refusal[] = []): Inspection {
  const services = [{ name: 'web', privatePort: 80, protocol: 'tcp' as const, address: '10.0.0.1', port }];
  return { kind: 'running', startedAt, services, refusals };
}

const offeringNothing: Inspection = { kind: 'running', startedAt: 5, services: [], refusals: [] };
const failed: Inspection = { kind: 'failed', detail: 'timeout' };
const down: Inspection = { kind: 'down' };

/** A process that is not to be seen from here. */
const stranger = 9;

class Stage extends BaseStage {
  readonly ledger = new Ledger();
  readonly conditions = new Conditions();
  readonly looks: ContainerId[] = [];
  readonly told: string[] = [];
  readonly abort = new AbortController();
  /** Processes that have ended. */
  readonly ended = new Set<number>();
  resyncs = 0;
  silences = 0;
  lists = 0;
  readonly reconciler: Reconciler;
  readonly sequence = new Sequence();
  readonly states = new Map<string, State>();

  constructor(publish: PublishPolicy = defaultConfig.publish, more: Partial<ReconcilerParts> = {}) {
    super();
    const { clock, ledger, log, metrics, conditions, looks, told } = this;
    this.reconciler = new Reconciler(
      {
        ...{ clock, log, metrics, ledger, conditions, layout, publish },
        ...{ sequence: this.sequence, states: this.states },
        inspect: (id) => void looks.push(id),
        processes: {
          startOf: (pid) => (pid === stranger ? undefined : '70'),
          hasEnded: (pid) => this.ended.has(pid),
          isFree: (pid) => this.ended.has(pid),
        },
        writer: { name: 'writer', tell: (shortId) => void told.push(shortId) },
        resync: (kind) => void (kind === 'silent' ? this.silences++ : this.resyncs++),
        onListed: () => void this.lists++,
        ...more,
      },
      {
        name: 'reconciler',
        tell: (message) => this.tell(message),
        done() {},
        crash: assert.fail,
      },
      this.abort.signal,
    );
  }

  /** What errors and warnings said. */
  get lines(): object[] {
    return this.log.loud.map(({ fields, message }) => ({ fields, message }));
  }

  nextSequence(): number {
    return this.sequence.next();
  }

  tell(...messages: ReconcilerMessage[]): void {
    this.reconciler.receive(messages);
  }

  looked(id: ContainerId, inspection: Inspection, began = this.nextSequence()): void {
    this.tell({ kind: 'inspected', id, at: 0, began, inspection });
  }

  died(id: ContainerId, at: number): void {
    this.tell({ kind: 'died', id, at, heard: this.nextSequence() });
  }

  listed(
    listed: readonly (ContainerId | [ContainerId, string])[],
    { full = false, isPeriodic = true, began = this.nextSequence() } = {},
  ): void {
    const containers = listed.map((item) => {
      const [id, fingerprint] = typeof item === 'string' ? [item, 'running'] : item;
      return { id, fingerprint };
    });
    this.tell({ kind: 'list', began, containers, full, isPeriodic });
  }

  /** The writer has its way. */
  commit(): void {
    for (const shortId of [...this.ledger.unsettled()]) {
      this.ledger.committed(shortId, this.ledger.begin(shortId));
      this.ledger.ended(shortId);
    }
    this.told.length = 0;
  }

  /** What a predecessor has left in etcd. */
  found(...ids: ContainerId[]): void {
    const keysOfEach = ids.map((id): [string, Map<string, Held>] => {
      const shortId = id.slice(0, 12);
      return [shortId, new Map([[layout.serviceKey('web', shortId), ours('tcp://10.0.0.1:999')]])];
    });
    this.ledger.load(new Map(keysOfEach));
    this.tell({ kind: 'read', uncertain: [] });
  }

  /** The ports that etcd should hold for a container. */
  desired(id: ContainerId): string | undefined {
    return this.ledger
      .desired(id.slice(0, 12))
      ?.get(layout.serviceKey('web', id.slice(0, 12)))
      ?.split(':')
      .at(-1);
  }

  /** The containers that etcd holds. */
  published(): string[] {
    return [...this.ledger.published()];
  }

  /** With a container that runs since 100 and is published. */
  static publishing(id = c1): Stage {
    const stage = new Stage();
    stage.listed([id]);
    stage.looked(id, running(100));
    stage.commit();
    stage.looks.length = 0;
    return stage;
  }
}

describe('Reconciler takes a look and', () => {
  test('publishes what runs, and wakes the writer once', () => {
    const stage = new Stage();
    stage.looked(c1, running(100, 1_234));
    assert.equal(stage.desired(c1), '1234');
    assert.deepEqual(stage.told, ['000000000001']);
  });

  test('does not wake the writer when nothing has changed', () => {
    const stage = Stage.publishing();
    stage.looked(c1, running(100));
    assert.deepEqual(stage.told, []);
  });

  test('publishes new ports', () => {
    const stage = Stage.publishing();
    stage.looked(c1, running(200, 2_000));
    assert.equal(stage.desired(c1), '2000');
    assert.deepEqual(stage.told, ['000000000001']);
  });

  test('removes what is down', () => {
    const stage = Stage.publishing();
    stage.looked(c1, down);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes what runs but offers nothing any more', () => {
    const stage = Stage.publishing();
    stage.looked(c1, offeringNothing);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('has nothing to write for what runs and offers nothing', () => {
    const stage = new Stage();
    stage.looked(c1, offeringNothing);
    stage.looked(c2, down);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.ledger.size, 0);
  });

  test('changes nothing when it failed', () => {
    const stage = Stage.publishing();
    for (let n = 0; n < 100; n++) stage.looked(c1, failed);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.desired(c1), '1000');
    assert.equal(stage.metrics.inspectionsFailed, 100);
  });

  test('logs the refusals of a container once for each start', () => {
    const refusal: Refusal = { code: 'name-invalid', entry: 'a/b:80', detail: 'no slash' };
    const stage = new Stage();
    stage.looked(c1, running(100, 1, [refusal]));
    stage.looked(c1, running(100, 1, [refusal]));
    assert.deepEqual(stage.lines, [
      {
        fields: { container: '000000000001', reason: 'name-invalid', entry: 'a/b:80', detail: 'no slash' },
        message: 'advertisement refused',
      },
    ]);
    stage.looked(c1, running(200, 1, [refusal]));
    assert.equal(stage.lines.length, 2);
    assert.equal(total(stage.metrics.refusals), 2);
  });

  test('remembers what people call a container as long as etcd has its keys, and follows a rename', () => {
    const stage = new Stage();
    const shortId = c1.slice(0, 12);
    const refusal: Refusal = { code: 'port-invalid', entry: 'a:x', detail: '' };
    const named = (name: string): Inspection =>
      ({ ...running(100, 1, [refusal]), names: { name, image: 'nginx:1' } }) as Inspection;
    stage.looked(c1, named('web-1'));
    assert.deepEqual(stage.log.loud.at(-1)?.fields, {
      ...{ container: shortId, name: 'web-1', image: 'nginx:1', reason: 'port-invalid', entry: 'a:x', detail: '' },
    });
    stage.commit();
    assert.equal(stage.ledger.namesOf(shortId)?.name, 'web-1');
    stage.looked(c1, named('web-2'));
    assert.deepEqual(stage.told, [], 'A name is in no key');
    assert.equal(stage.ledger.namesOf(shortId)?.name, 'web-2');
    stage.died(c1, 200);
    assert.equal(stage.ledger.namesOf(shortId)?.name, 'web-2', 'For the line that says that it is gone');
    stage.commit();
    assert.equal(stage.ledger.namesOf(shortId), undefined);
  });

  test('logs no more than ten refusals and how many there were besides', () => {
    const refusals = Array.from({ length: 100 }, (): Refusal => ({ code: 'port-invalid', entry: 'a:x', detail: '' }));
    const stage = new Stage();
    stage.looked(c1, running(100, 1, refusals));
    assert.equal(stage.lines.length, 11);
    assert.deepEqual(stage.log.loud.at(-1)?.fields, { container: '000000000001', refusals: 90 });
  });
});

describe('Reconciler hears of a death and', () => {
  test('removes the container at once, without a look', () => {
    const stage = Stage.publishing();
    stage.died(c1, 150);
    assert.deepEqual(stage.told, ['000000000001']);
    assert.deepEqual(stage.looks, []);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes it also when the engine does not say when', () => {
    const stage = Stage.publishing();
    stage.died(c1, 0);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes it when it ended in the moment it began', () => {
    const stage = Stage.publishing();
    stage.died(c1, 100);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('only asks for a look when it is older than the start that is published', () => {
    const stage = Stage.publishing();
    stage.died(c1, 99);
    assert.deepEqual(stage.looks, [c1]);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.desired(c1), '1000');
  });

  test('looks where a predecessor published, perhaps after this death: the event may be an old one, repeated', () => {
    const stage = new Stage();
    stage.found(c1);
    stage.died(c1, 150);
    assert.deepEqual([stage.looks, stage.told], [[c1], []]);
    stage.looked(c1, running(200));
    stage.commit();
    assert.deepEqual(stage.published(), ['000000000001']);
  });

  test('removes what a predecessor published when the look says so', () => {
    const stage = new Stage();
    stage.found(c1);
    stage.died(c1, 150);
    stage.looked(c1, down);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes nothing that a reading finds after it: a predecessor may have published that since', () => {
    const stage = new Stage();
    stage.died(c1, 150);
    stage.found(c1);
    assert.deepEqual(stage.told, []);
    assert.deepEqual([...stage.ledger.unsettled()], []);
  });

  test('does not look at what nobody has published', () => {
    const stage = new Stage();
    stage.found();
    stage.died(c1, 150);
    assert.deepEqual(stage.looks, []);
  });

  test('does not look again at what is being removed', () => {
    const stage = Stage.publishing();
    stage.found(c1);
    stage.died(c1, 150);
    stage.died(c1, 151);
    assert.deepEqual(stage.looks, []);
  });

  test('has nothing to write for a container it does not know', () => {
    const stage = new Stage();
    stage.died(c1, 150);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.ledger.size, 0);
  });

  test('has nothing to write when the start has not been written yet', () => {
    const stage = new Stage();
    stage.looked(c1, running(100));
    stage.died(c1, 150);
    assert.deepEqual([...stage.ledger.unsettled()], []);
    assert.equal(stage.ledger.size, 0);
  });

  test('publishes the container again once a look sees the next start', () => {
    const stage = Stage.publishing();
    stage.died(c1, 150);
    stage.looked(c1, running(200, 2_000));
    assert.equal(stage.desired(c1), '2000');
  });

  test('hears the same death twice and removes nothing more', () => {
    const stage = Stage.publishing();
    stage.died(c1, 150);
    stage.commit();
    stage.died(c1, 150);
    assert.deepEqual(stage.told, []);
  });
});

describe('Reconciler hears of a move and', () => {
  test('asks for a look at a container that it knows', () => {
    const stage = Stage.publishing();
    stage.tell({ kind: 'moved', id: c1, heard: stage.nextSequence() });
    assert.deepEqual(stage.looks, [c1]);
    assert.deepEqual(stage.told, []);
  });

  test('asks for no look at one that is not there yet or any more', () => {
    const stage = Stage.publishing();
    stage.tell({ kind: 'moved', id: c2, heard: stage.nextSequence() });
    stage.died(c1, 150);
    stage.tell({ kind: 'moved', id: c1, heard: stage.nextSequence() });
    assert.deepEqual(stage.looks, []);
  });
});

describe('Reconciler takes in a list and', () => {
  test('says so', () => {
    const stage = new Stage();
    stage.listed([]);
    assert.equal(stage.lists, 1);
  });

  test('removes what it does not show', () => {
    const stage = Stage.publishing();
    stage.listed([]);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes what a predecessor published and it does not show', () => {
    const stage = new Stage();
    stage.found(c1, c2);
    stage.listed([c1]);
    stage.commit();
    assert.deepEqual(stage.published(), ['000000000001']);
  });

  test('keeps what a predecessor published and it shows, until a look says otherwise', () => {
    const stage = new Stage();
    stage.found(c1);
    stage.listed([c1]);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.desired(c1), undefined);
    stage.looked(c1, failed);
    assert.deepEqual(stage.told, []);
    stage.looked(c1, running(100, 2_000));
    assert.equal(stage.desired(c1), '2000');
  });

  test('keeps what was read from etcd after the list and is not shown: a predecessor may have published it since', () => {
    const stage = new Stage();
    stage.listed([c1]);
    stage.resyncs = 0;
    stage.found(c1, c2);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.resyncs, 1, 'another list is asked for');
    stage.listed([c1]);
    stage.commit();
    assert.deepEqual(stage.published(), ['000000000001']);
  });

  test('asks for no list where it shows all that is read from etcd', () => {
    const stage = new Stage();
    stage.listed([c1, c2]);
    stage.resyncs = 0;
    stage.found(c1);
    assert.equal(stage.resyncs, 0);
  });

  test('looks again where a look and a list that does not show the container overlap', () => {
    const stage = new Stage();
    const [inspect, list] = [stage.nextSequence(), stage.nextSequence()];
    stage.looked(c1, running(100), inspect);
    stage.commit();
    stage.listed([], { began: list });
    assert.deepEqual(stage.looks, [c1]);
    assert.deepEqual(stage.published(), ['000000000001']);
    stage.looked(c1, down);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes what is read from etcd although the list showed it, when it has died since', () => {
    const stage = new Stage();
    stage.listed([c1, c2]);
    stage.looked(c1, running(100));
    stage.looked(c2, running(100));
    // Both transactions had no answer; that they took effect shows only when etcd is read anew.
    stage.died(c1, 150);
    stage.looked(c2, down);
    stage.resyncs = 0;
    stage.found(c1, c2);
    assert.equal(stage.resyncs, 1, 'another list is asked for');
    stage.listed([]);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes what is read from etcd of a container that runs and offers nothing any more', () => {
    const stage = new Stage();
    stage.listed([c1]);
    stage.looked(c1, running(100));
    // Its transaction had no answer; then its ports were taken away.
    stage.looked(c1, offeringNothing);
    stage.found(c1);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });

  test('removes nothing that was read from etcd before there is a list', () => {
    const stage = new Stage();
    stage.found(c1, c2);
    assert.deepEqual(stage.told, []);
    assert.deepEqual(stage.published().length, 2);
  });

  test('keeps a container that a look saw running after the list began', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.looked(c1, running(100));
    stage.commit();
    stage.listed([], { began });
    stage.found(c1);
    assert.deepEqual(stage.told, []);
    assert.equal(stage.desired(c1), '1000');
  });

  test('asks for a look at all that it shows when it is thorough', () => {
    const stage = Stage.publishing();
    stage.listed([c1, c2], { full: true });
    assert.deepEqual(stage.looks, [c1, c2]);
  });

  test('asks for a look at what is new', () => {
    const stage = Stage.publishing();
    stage.listed([c1, c2]);
    assert.deepEqual(stage.looks, [c2]);
  });

  test('asks for a look at what has changed its fingerprint', () => {
    const stage = Stage.publishing();
    stage.listed([[c1, 'other ports']]);
    assert.deepEqual(stage.looks, [c1]);
    stage.looks.length = 0;
    stage.listed([[c1, 'other ports']]);
    assert.deepEqual(stage.looks, []);
  });

  test('asks for a look at what an event showed and no list has yet', () => {
    const stage = new Stage();
    stage.listed([]);
    stage.looked(c1, running(100));
    stage.listed([c1]);
    assert.deepEqual(stage.looks, [c1]);
  });

  test('asks for no look at what it has seen before and has not changed, services or not', () => {
    const stage = new Stage();
    stage.listed([c1, c2]);
    stage.looked(c1, running(100));
    stage.looked(c2, offeringNothing);
    stage.looks.length = 0;
    stage.listed([c1, c2]);
    assert.deepEqual(stage.looks, []);
  });
});

describe('Reconciler is overtaken and', () => {
  test('believes no look that began before a list that does not show the container, but looks again', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.listed([]);
    stage.looked(c1, running(100), began);
    assert.equal(stage.desired(c1), undefined);
    assert.deepEqual(stage.looks, [c1]);
    stage.looked(c1, running(100));
    assert.equal(stage.desired(c1), '1000');
  });

  test('asks nothing more of a failed look that a list without the container has overtaken', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.listed([]);
    stage.looked(c1, failed, began);
    stage.looked(c2, down, began);
    assert.equal(stage.clock.pending, 0);
    assert.deepEqual(stage.looks, []);
  });

  test('believes a look that began before a list that shows the container', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.listed([c1]);
    stage.looked(c1, running(100), began);
    assert.equal(stage.desired(c1), '1000');
  });

  test('removes by no list what a look saw after the list began', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.looked(c1, running(100));
    stage.listed([], { began });
    assert.equal(stage.desired(c1), '1000');
  });

  test('removes by the next list what the one before was too old to remove', () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.looked(c1, running(100));
    stage.listed([], { began });
    stage.listed([]);
    assert.equal(stage.desired(c1), undefined);
  });

  test('goes on retrying a container that a list which began before the failed look does not show', async () => {
    const stage = new Stage();
    const began = stage.nextSequence();
    stage.looked(c1, failed);
    stage.listed([], { began });
    await stage.clock.advance(100);
    assert.deepEqual(stage.looks, [c1]);
  });

  test('lets no list that arrives late override one that began after it', () => {
    const stage = new Stage();
    const [older, inspect, newer] = [stage.nextSequence(), stage.nextSequence(), stage.nextSequence()];
    stage.listed([], { began: newer });
    stage.listed([c1], { began: older });
    stage.looks.length = 0;
    stage.looked(c1, running(100), inspect);
    assert.equal(stage.desired(c1), undefined, 'the newer list did not show what the look saw');
    assert.deepEqual(stage.looks, [c1]);
  });
});

describe('Reconciler retries and', () => {
  test('asks for a look again, ever more slowly, up to every thirty seconds', async () => {
    const stage = new Stage();
    stage.listed([c1]);
    stage.looks.length = 0;
    const waits: number[] = [];
    for (let n = 0; n < 14; n++) {
      const before = stage.clock.now();
      stage.looked(c1, failed);
      await stage.clock.until(() => stage.looks.length > n, 40_000);
      waits.push(stage.clock.now() - before);
    }
    for (const [n, wait] of waits.entries()) {
      const ceiling = Math.min(30_000, 100 * 2 ** n);
      assert.ok(wait >= ceiling / 2 && wait <= ceiling, `wait ${n} took ${wait} ms`);
    }
  });

  test('waits once for several failures in a row', async () => {
    const stage = new Stage();
    for (let n = 0; n < 5; n++) stage.looked(c1, failed);
    await stage.clock.advance(60_000);
    assert.deepEqual(stage.looks, [c1]);
  });

  test('says so with the fifth failure, once', () => {
    const stage = new Stage();
    for (let n = 0; n < 4; n++) stage.looked(c1, failed);
    assert.deepEqual(stage.lines, []);
    for (let n = 0; n < 10; n++) stage.looked(c1, failed);
    assert.deepEqual(stage.lines, [
      { fields: { container: c1, error: 'timeout' }, message: 'container cannot be inspected; retrying' },
    ]);
  });

  for (const [name, end] of [
    ['a look succeeds', (stage: Stage) => stage.looked(c1, running(100))],
    ['a look finds it down', (stage: Stage) => stage.looked(c1, down)],
    ['the list does not show it any more', (stage: Stage) => stage.listed([])],
    ['its incarnation is over', (stage: Stage) => stage.abort.abort()],
  ] as const) {
    test(`ends when ${name}`, async () => {
      const stage = new Stage();
      stage.listed([c1]);
      stage.looked(c1, failed);
      end(stage);
      stage.looks.length = 0;
      await stage.clock.advance(60_000);
      assert.deepEqual([stage.looks, stage.clock.pending], [[], 0]);
    });
  }

  test('goes on when the container has died: the look may be about a start that came after', async () => {
    const stage = new Stage();
    stage.found();
    stage.listed([c1]);
    stage.looked(c1, failed);
    stage.looks.length = 0;
    stage.died(c1, 150);
    await stage.clock.advance(100);
    assert.deepEqual(stage.looks, [c1]);
    stage.looked(c1, down);
    await stage.clock.advance(60_000);
    assert.deepEqual([stage.looks, stage.clock.pending], [[c1], 0]);
  });

  test('goes on while the list shows the container', async () => {
    const stage = new Stage();
    stage.listed([c1]);
    stage.looked(c1, failed);
    stage.listed([c1]);
    stage.looks.length = 0;
    await stage.clock.advance(100);
    assert.deepEqual(stage.looks, [c1]);
  });

  test('begins with a short wait after a success', async () => {
    const stage = new Stage();
    for (let n = 0; n < 10; n++) stage.looked(c1, failed);
    stage.looked(c1, running(100));
    stage.looked(c1, failed);
    await stage.clock.advance(100);
    assert.deepEqual(stage.looks, [c1]);
  });
});

describe('Reconciler meets two containers with the same 12 digits and', () => {
  const twin = (c1.slice(0, 12) + 'd'.repeat(52)) as ContainerId;

  test('publishes the first and says why not the second', () => {
    const stage = Stage.publishing();
    stage.looked(twin, running(200, 2_000));
    assert.equal(stage.desired(c1), '1000');
    assert.deepEqual(stage.told, []);
    assert.deepEqual(
      stage.log.loud.map(({ fields }) => fields),
      [{ container: twin, holder: c1 }],
    );
  });

  test('keeps the first when the second dies, is down, or is not listed', () => {
    const stage = Stage.publishing();
    stage.looked(twin, running(200, 2_000));
    stage.died(twin, 250);
    stage.looked(twin, down);
    stage.listed([c1]);
    assert.equal(stage.desired(c1), '1000');
    assert.deepEqual(stage.told, []);
  });

  test('publishes the second once the first is gone and it is looked at again', () => {
    const stage = Stage.publishing();
    stage.looked(twin, running(200, 2_000));
    stage.died(c1, 300);
    stage.listed([twin]);
    assert.deepEqual(stage.looks, [twin]);
    stage.looked(twin, running(200, 2_000));
    assert.equal(stage.desired(c1), '2000');
  });

  test('gives the key to no one else when the first dies', () => {
    const stage = Stage.publishing();
    stage.looked(twin, running(200, 2_000));
    stage.died(c1, 300);
    stage.commit();
    assert.deepEqual(stage.published(), []);
  });
});

describe('Reconciler misses events and', () => {
  /** With a container that runs, and a stream that has been refreshed once. */
  const watching = () => {
    const stage = Stage.publishing();
    stage.listed([c1]);
    return stage;
  };

  test('says so ten seconds after a list showed a start that no event tells of', async () => {
    const stage = watching();
    stage.listed([c1, c2]);
    stage.looked(c2, running(100));
    await stage.clock.advance(9_999);
    assert.equal(stage.silences, 0);
    await stage.clock.advance(1);
    assert.equal(stage.silences, 1);
  });

  test('says so after a list showed an end that no event tells of, once for all that are missing', async () => {
    const stage = watching();
    stage.listed([c1, c2]);
    stage.tell({ kind: 'inspected', id: c2, at: 5, began: stage.nextSequence(), inspection: running(100) });
    stage.listed([]);
    await stage.clock.advance(20_000);
    assert.equal(stage.silences, 1);
  });

  test('says nothing where the event comes after the list', async () => {
    const stage = watching();
    stage.listed([c2]);
    stage.tell({ kind: 'inspected', id: c2, at: 5, began: stage.nextSequence(), inspection: running(100) });
    stage.died(c1, 150);
    await stage.clock.advance(20_000);
    assert.equal(stage.silences, 0);
  });

  test('says nothing of what a full list shows: nothing could have told of it', async () => {
    const stage = watching();
    stage.listed([c2], { full: true });
    await stage.clock.advance(20_000);
    assert.equal(stage.silences, 0);
  });

  test('says nothing of what a list shows that an event too large to read asked for, nor of what was missing before', async () => {
    const stage = watching();
    stage.listed([c1, c2]);
    await stage.clock.advance(5_000);
    stage.listed([], { isPeriodic: false });
    await stage.clock.advance(20_000);
    assert.equal(stage.silences, 0);
  });

  test('says nothing of what fails, dies or is listed as before', async () => {
    const stage = watching();
    stage.looked(c1, failed);
    stage.listed([c1]);
    stage.died(c1, 150);
    stage.listed([]);
    await stage.clock.advance(20_000);
    assert.equal(stage.silences, 0);
  });
});

describe('Reconciler begins and', () => {
  test('asks for a thorough resync, for it has forgotten everything', () => {
    assert.equal(new Stage().resyncs, 1);
  });

  test('looks anew at what another process has published differently, and leaves that until it has', () => {
    const stage = Stage.publishing();
    const shortId = stage.published()[0] as string;
    const other = new Map([...stage.ledger.observed(shortId)].map(([key]) => [key, ours('of the other')]));
    const before = stage.looks.length;
    const uncertain = stage.ledger.load(new Map([[shortId, other]]), true);
    stage.tell({ kind: 'read', uncertain });
    assert.deepEqual(stage.looks.slice(before), [c1]);
    assert.deepEqual([...stage.ledger.unsettled()], []);
    // A death that is heard of again may be older than what the other has seen.
    stage.died(c1, 300);
    assert.deepEqual([...stage.ledger.unsettled()], []);
    assert.deepEqual(stage.looks.slice(before), [c1, c1]);
  });

  test('takes away nothing that is published until a list does not show it', () => {
    const stage = Stage.publishing();
    const next = new Stage();
    next.ledger.load(new Map(stage.published().map((shortId) => [shortId, new Map(stage.ledger.observed(shortId))])));
    next.tell({ kind: 'read', uncertain: [] });
    next.tell({ kind: 'moved', id: c1, heard: stage.nextSequence() });
    assert.deepEqual(next.told, []);
  });
});

describe('Reconciler withholds a container and', () => {
  const kill = (signal: number) => ({ kind: 'killed', id: c1, signal, at: 0 }) as const;

  test('says so as long as it is true, and publishes it again when the time has come', async () => {
    const stage = Stage.publishing();
    stage.tell(kill(15));
    assert.equal(stage.desired(c1), undefined);
    const { reason, isPublished, since, until } = stage.conditions.get(c1.slice(0, 12))?.traffic ?? {};
    assert.deepEqual([reason, isPublished, (until ?? 0) - (since ?? 0)], ['draining', false, 15_000]);
    stage.commit();
    await stage.clock.advance(14_999);
    assert.equal(stage.desired(c1), undefined);
    await stage.clock.advance(1);
    assert.equal(stage.desired(c1), '1000');
    assert.equal(stage.conditions.get(c1.slice(0, 12))?.traffic?.reason, 'ignores-stop');
    assert.deepEqual(stage.warnings, ['It was asked to stop and runs on']);
    stage.died(c1, 0);
    assert.equal(stage.conditions.get(c1.slice(0, 12)), undefined);
    assert.equal(stage.clock.pending, 0);
  });

  test('looks at no health that is told again', () => {
    const stage = new Stage();
    stage.looked(c1, { ...running(100), traffic: { health: 'healthy' } } as Inspection);
    const told = (health: 'healthy' | 'unhealthy') =>
      stage.tell({ kind: 'moved', id: c1, heard: stage.nextSequence(), health });
    told('healthy');
    assert.deepEqual(stage.looks, []);
    told('unhealthy');
    assert.deepEqual(stage.looks, [c1]);
  });

  test('has nothing to say of one that offers nothing', () => {
    const stage = new Stage();
    stage.looked(c1, { ...offeringNothing, traffic: { health: 'unhealthy' } } as Inspection);
    assert.deepEqual([...stage.conditions], []);
  });
});

describe('Reconciler damps a container that crashes again and again:', () => {
  const flapping = { ...defaultConfig.publish, flapDeaths: 3 };
  const life = (stage: Stage, id: ContainerId, traffic = {}): void => {
    stage.looked(id, { ...running(0), traffic } as Inspection);
    stage.commit();
    stage.died(id, 0);
    stage.commit();
  };

  test('it is held until it has run for a while, and the log has a line for each doubling alone', async () => {
    const stage = new Stage(flapping);
    for (let n = 0; n < 3; n++) life(stage, c1);
    stage.looked(c1, running(0));
    assert.equal(stage.desired(c1), undefined);
    assert.equal(stage.conditions.get(c1.slice(0, 12))?.traffic?.reason, 'flapping');
    await stage.clock.advance(9_999);
    assert.equal(stage.desired(c1), undefined);
    await stage.clock.advance(1);
    assert.equal(stage.desired(c1), '1000');
    stage.died(c1, 0);
    for (let n = 0; n < 50; n++) life(stage, c1);
    assert.deepEqual(
      stage.log.loud.map(({ fields }) => 'seconds' in fields && fields.seconds),
      [10, 20, 40, 80, 160, 300],
    );
  });

  test('a stop is no crash, whatever signal it was', async () => {
    const stage = new Stage(flapping);
    for (const signal of [15, 9, 2, 0, 15, 9]) {
      stage.looked(c1, running(0));
      stage.tell({ kind: 'killed', id: c1, signal, at: 0 });
      stage.died(c1, 0);
      await stage.clock.advance(1_000);
    }
    stage.looked(c1, running(0));
    assert.equal(stage.desired(c1), '1000');
  });

  test('a death with the exit code of a stop is none where the engine may not tell of stops', async () => {
    const stage = new Stage(flapping);
    for (let n = 0; n < 6; n++) {
      stage.looked(c1, running(0));
      stage.tell({ kind: 'died', id: c1, at: 0, heard: stage.nextSequence(), isAsked: true });
      await stage.clock.advance(1_000);
    }
    stage.looked(c1, running(0));
    assert.equal(stage.desired(c1), '1000');
  });

  test('what takes its place inherits its crashes, and nothing else does', () => {
    const stage = new Stage(flapping);
    for (let n = 0; n < 3; n++) life(stage, c1, { replica: 'web 1' });
    stage.looked(c2, { ...running(0), traffic: { replica: 'web 2' } } as Inspection);
    assert.equal(stage.desired(c2), '1000');
    stage.looked(c3, { ...running(0), traffic: { replica: 'web 1' } } as Inspection);
    assert.equal(stage.desired(c3), undefined);
  });

  test('nothing is held where damping is off', () => {
    const stage = new Stage();
    for (let n = 0; n < 20; n++) life(stage, c1);
    stage.looked(c1, running(0));
    assert.notEqual(stage.conditions.get(c1.slice(0, 12))?.traffic?.reason, 'flapping');
  });
});

describe('Reconciler is left by the engine and', () => {
  const isAway = (stage: Stage, away: boolean) => stage.tell({ kind: 'engine', isAway: away });

  test('withdraws what has ended, where it shares the table of processes, and keeps the rest', async () => {
    const stage = new Stage();
    stage.looked(c1, { ...running(100), traffic: { pid: 7 } } as Inspection);
    stage.looked(c2, { ...running(100), traffic: { pid: stranger } } as Inspection);
    stage.commit();
    await stage.clock.advance(2_000);
    stage.ended.add(7).add(stranger);
    await stage.clock.advance(10_000);
    assert.equal(stage.desired(c1), '1000', 'the engine is there to tell');
    isAway(stage, true);
    await stage.clock.advance(500);
    assert.deepEqual([stage.desired(c1), stage.desired(c2)], [undefined, '1000']);
    isAway(stage, false);
    stage.looked(c1, running(200));
    assert.equal(stage.desired(c1), '1000');
    await stage.clock.advance(60_000);
    assert.equal(stage.clock.pending, 0);
  });

  test('withdraws everything after the time that is configured, until an inspection shows it again', async () => {
    const stage = new Stage({ ...defaultConfig.publish, engineAwayMs: 5_000 });
    stage.looked(c1, running(100));
    stage.commit();
    stage.found(c2);
    isAway(stage, true);
    await stage.clock.advance(4_999);
    assert.equal(stage.desired(c1), '1000');
    await stage.clock.advance(1);
    assert.deepEqual([stage.desired(c1), stage.desired(c2)], [undefined, undefined]);
    assert.equal(stage.conditions.get(c1.slice(0, 12))?.traffic?.reason, 'engine-away');
    const began = stage.nextSequence();
    stage.looked(c1, running(100), began);
    assert.equal(stage.desired(c1), undefined, 'an answer that comes late');
    isAway(stage, false);
    stage.looked(c1, running(100));
    assert.equal(stage.desired(c1), '1000');
  });

  test('gives up no engine that lists, even if its events cannot be followed', async () => {
    const stage = new Stage({ ...defaultConfig.publish, engineAwayMs: 5_000 });
    stage.looked(c1, running(100));
    for (let n = 0; n < 20; n++) {
      isAway(stage, true);
      await stage.clock.advance(1_000);
      stage.listed([c1]);
    }
    assert.equal(stage.desired(c1), '1000');
  });

  test('gives up no engine where that is not configured', async () => {
    const stage = Stage.publishing();
    isAway(stage, true);
    await stage.clock.advance(86_400_000 / 100);
    assert.equal(stage.desired(c1), '1000');
  });
});

describe('Reconciler has a budget of writes for each container and', () => {
  const moved = (stage: Stage, port: number): void => {
    stage.looked(c1, running(100, port));
    stage.commit();
  };

  test('writes the newest address once there is room, and takes the old one away at once', async () => {
    const stage = new Stage();
    for (let port = 1; port <= 5; port++) moved(stage, port);
    moved(stage, 6);
    assert.equal(stage.desired(c1), undefined, 'the fifth address is not true any more');
    moved(stage, 7);
    await stage.clock.advance(1_000);
    assert.equal(stage.desired(c1), '7');
    await stage.clock.advance(60_000);
    assert.equal(stage.clock.pending, 0);
  });

  test('removes at once what has died, and publishes nothing of it later', async () => {
    const stage = new Stage();
    for (let port = 1; port <= 6; port++) moved(stage, port);
    stage.died(c1, 0);
    await stage.clock.advance(5_000);
    assert.equal(stage.desired(c1), undefined);
    for (let n = 0; n < 20; n++) {
      stage.looked(c2, running(100, n));
      stage.commit();
      stage.died(c2, 0);
      assert.equal(stage.desired(c2), undefined);
      stage.commit();
    }
  });

  test('forgets what waits when another process may know more', async () => {
    const stage = new Stage();
    for (let port = 1; port <= 6; port++) moved(stage, port);
    stage.tell({ kind: 'read', uncertain: [c1.slice(0, 12)] });
    await stage.clock.advance(5_000);
    assert.equal(stage.desired(c1), undefined);
  });
});

describe('Reconciler, of a container that uses the network of another one', () => {
  const sharing = (...sharesWith: ContainerId[]): Inspection => ({ ...offeringNothing, sharesWith });
  const seen = (id: ContainerId, inspection: Inspection, began: number): ReconcilerMessage => {
    return { kind: 'inspected', id, at: 0, began, inspection };
  };

  test('inspects it when that one dies, is seen, or is not listed any more', () => {
    const stage = new Stage();
    const moment = () => stage.sequence.next();
    const looks = (...messages: ReconcilerMessage[]) => {
      stage.looks.length = 0;
      stage.reconciler.receive(messages);
      return stage.looks.filter((id) => id === c1);
    };
    looks({ kind: 'list', began: moment(), containers: [], full: true, isPeriodic: false });
    assert.deepEqual(looks(seen(c1, sharing(c2, c3), moment()), seen(c2, running(5), moment())), [c1]);
    assert.deepEqual(looks({ kind: 'died', id: c2, at: 0, heard: moment() }), [c1]);
    assert.deepEqual(looks(seen(c2, running(9), moment())), [c1]);
    assert.deepEqual(looks(seen(c3, running(9), moment())), [c1]);
    const containers = [{ id: c1, fingerprint: '' }];
    assert.deepEqual(looks({ kind: 'list', began: moment(), containers, full: false, isPeriodic: false }), [
      c1,
      c1,
      c1,
    ]);
  });

  test('inspects it again when that one changed while it was inspected', () => {
    const stage = new Stage();
    const moment = () => stage.sequence.next();
    stage.reconciler.receive([
      { kind: 'list', began: moment(), containers: [], full: true, isPeriodic: false },
      seen(c2, running(5), moment()),
    ]);
    const began = moment();
    stage.reconciler.receive([{ kind: 'died', id: c2, at: 0, heard: moment() }]);
    stage.looks.length = 0;
    stage.reconciler.receive([seen(c1, sharing(c2), began)]);
    assert.deepEqual(stage.looks, [c1]);
    stage.looks.length = 0;
    stage.reconciler.receive([seen(c1, sharing(c2), moment())]);
    assert.deepEqual(stage.looks, []);
  });

  test('and not once it has a network of its own, or has ended', () => {
    for (const last of [offeringNothing, down]) {
      const stage = new Stage();
      const moment = () => stage.sequence.next();
      stage.reconciler.receive([
        { kind: 'list', began: moment(), containers: [], full: true, isPeriodic: false },
        seen(c1, sharing(c2), moment()),
        seen(c1, last, moment()),
      ]);
      stage.looks.length = 0;
      stage.reconciler.receive([seen(c2, running(5), moment())]);
      assert.deepEqual(stage.looks, []);
    }
  });
});

describe('Reconciler and maintenance:', () => {
  const anna = { since: '2026-01-02T03:04:05.000Z', by: 'anna@desk', reason: 'new disk' };
  const on = (host: Mark | undefined, containers: readonly (readonly [ContainerId, Mark])[] = []) =>
    ({
      kind: 'maintenance',
      maintenance: { host, containers: new Map(containers.map(([id, mark]) => [id.slice(0, 12), mark])) },
    }) as const;
  const both = (): Stage => {
    const stage = new Stage();
    stage.listed([c1, c2]);
    stage.looked(c1, running(100, 1));
    stage.looked(c2, running(100, 2));
    stage.commit();
    return stage;
  };

  test('takes one container out, and lets it in again', () => {
    const stage = both();
    stage.tell(on(undefined, [[c1, anna]]));
    stage.commit();
    assert.deepEqual(stage.published(), [c2.slice(0, 12)]);
    const { traffic } = stage.conditions.get(c1.slice(0, 12)) ?? {};
    assert.deepEqual(traffic, {
      ...{ reason: 'maintenance', isPublished: false, since: Date.parse(anna.since), until: undefined },
      maintenance: { mark: anna, isOfHost: false },
    });
    stage.tell(on(undefined));
    stage.commit();
    assert.deepEqual(
      stage.published().sort(),
      [c1, c2].map((id) => id.slice(0, 12)),
    );
    assert.equal(stage.conditions.get(c1.slice(0, 12)), undefined);
  });

  test('takes the whole host out, and what starts on it', () => {
    const stage = both();
    stage.tell(on(anna, [[c1, anna]]));
    stage.looked(c3, running(100, 3));
    stage.commit();
    assert.deepEqual(stage.published(), []);
    stage.tell(on(undefined, [[c1, anna]]));
    stage.commit();
    assert.deepEqual(
      stage.published().sort(),
      [c2, c3].map((id) => id.slice(0, 12)),
    );
  });

  test('tells of another reason while it lasts, and logs each decision once', () => {
    const stage = both();
    stage.tell(on(undefined, [[c1, anna]]));
    stage.tell(on(undefined, [[c1, anna]]));
    stage.tell(on(undefined, [[c1, { ...anna, reason: 'another' }]]));
    assert.equal(stage.conditions.get(c1.slice(0, 12))?.traffic?.maintenance?.mark.reason, 'another');
    const said = stage.log.entries.filter(({ message }) => message.startsWith('maintenance'));
    assert.deepEqual(
      said.map(({ message, fields }) => [message, (fields as { reason?: string }).reason]),
      [
        ['maintenance on: container', 'new disk'],
        ['maintenance on: container', 'another'],
      ],
    );
  });

  test('knows the decisions after its own restart', () => {
    const stage = new Stage(undefined, { maintenance: () => on(anna).maintenance });
    stage.looked(c1, running(100));
    assert.equal(stage.desired(c1), undefined);
  });

  test('drains the host: everything goes, and nothing comes', () => {
    const stage = both();
    stage.tell({ kind: 'drain' });
    stage.looked(c3, running(100, 3));
    stage.commit();
    assert.deepEqual(stage.published(), []);
    assert.equal(stage.conditions.get(c1.slice(0, 12))?.traffic?.reason, 'host-drain');
  });
});

describe('Reconciler with a state in each meta', () => {
  const metaKey = layout.metaKey(layout.serviceKey('web', c1.slice(0, 12)));
  const running = (traffic: Traffic = {}, startedAt = 100): Inspection => {
    const service = { name: 'web', privatePort: 80, protocol: 'tcp' as const, address: '10.0.0.1', port: 1 };
    return {
      kind: 'running',
      startedAt,
      refusals: [],
      traffic,
      services: [{ ...service, meta: '{"privatePort":80}' }],
    };
  };
  const stage = (publish: Partial<PublishPolicy> = {}) =>
    new Stage({ ...defaultConfig.publish, ...publish }, { tellsStates: true });
  const metaOf = (of: Stage) => of.ledger.desired(c1.slice(0, 12))?.get(metaKey);

  test('tells the state of what is published, and of what is withheld together with its address', async () => {
    const on = stage({ paused: 'withdraw' });
    on.looked(c1, running());
    assert.equal(metaOf(on), '{"privatePort":80,"state":"ready"}');
    assert.equal(on.ledger.desired(c1.slice(0, 12))?.size, 3);
    for (const [traffic, state] of [
      [{ health: 'unhealthy' }, 'unhealthy'],
      [{ isPaused: true }, 'paused'],
    ] as const) {
      await on.clock.advance(1_000);
      on.looked(c1, running(traffic));
      const said = `{"privatePort":80,"state":"${state}","url":"tcp://10.0.0.1:1"}`;
      assert.deepEqual([...(on.ledger.desired(c1.slice(0, 12)) ?? [])], [[metaKey, said]]);
    }
    on.died(c1, 200);
    assert.equal(on.ledger.desired(c1.slice(0, 12)), undefined);
  });

  test('tells of a drain, maintenance and a crash loop', () => {
    const on = stage({ flapDeaths: 1 });
    const stateOf = () => (JSON.parse(metaOf(on) ?? '{}') as { state?: string }).state;
    on.looked(c1, running());
    on.tell({ kind: 'killed', id: c1, signal: 15, at: 0 });
    assert.equal(stateOf(), 'draining');
    on.tell({ kind: 'maintenance', maintenance: { host: {}, containers: new Map() } });
    assert.equal(stateOf(), 'maintenance');
    const crashed = stage({ flapDeaths: 1, flapMs: 60_000 });
    crashed.looked(c1, running());
    crashed.commit();
    crashed.died(c1, 0);
    crashed.looked(c1, running({}, 300));
    assert.match(metaOf(crashed) ?? '', /"state":"held"/);
  });

  test('withdraws at once, and may tell the state later, where the container was written often', async () => {
    const on = stage();
    for (let n = 0; n < 8; n++) {
      on.looked(c1, running({ health: n % 2 === 0 ? 'healthy' : 'unhealthy' }));
      const isThere = on.ledger.desired(c1.slice(0, 12))?.has(layout.serviceKey('web', c1.slice(0, 12)));
      if (n % 2 === 1) assert.notEqual(isThere, true);
    }
    await on.clock.advance(5_000);
    assert.match(metaOf(on) ?? '', /"state":"unhealthy"/);
  });

  test('tells nothing by default', () => {
    const off = new Stage();
    off.looked(c1, running({ health: 'unhealthy' }));
    assert.equal(off.ledger.size, 0);
    off.looked(c1, running());
    assert.equal(off.ledger.desired(c1.slice(0, 12))?.get(metaKey), '{"privatePort":80}');
  });
});
