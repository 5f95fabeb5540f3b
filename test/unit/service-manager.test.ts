/** What the service manager is told of the watchdog, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServiceManager } from '../../src/daemon/service-manager.ts';
import { BaseStage } from '../helpers/stage.ts';

class Stage extends BaseStage {
  readonly messages: string[] = [];
  ttlSeconds = 30;
  isRefusing = false;

  manager: ServiceManager | undefined;

  start(watchdogMs: number | undefined): this {
    const { clock, log } = this;
    const send = async (message: readonly string[]): Promise<void> => {
      if (this.isRefusing) throw new Error('refused');
      this.messages.push(...message);
    };
    const read = () => ({ isAlive: true, status: 'well', ttlSeconds: this.ttlSeconds });
    this.manager = new ServiceManager({ clock, log, read, watchdogMs, send, close: async () => {} });
    return this;
  }

  /** The periods that were told by now. */
  async periods(): Promise<string[]> {
    await this.clock.settle();
    return this.messages.filter((line) => line.startsWith('WATCHDOG_USEC='));
  }
}

test('a watchdog that would act after the keys have expired is made shorter, also by a reload', async () => {
  const stage = new Stage().start(60_000);
  assert.deepEqual(await stage.periods(), ['WATCHDOG_USEC=12000000']);
  stage.ttlSeconds = 10;
  await stage.clock.advance(4_000);
  assert.deepEqual(await stage.periods(), ['WATCHDOG_USEC=12000000', 'WATCHDOG_USEC=4000000']);
  stage.messages.length = 0;
  await stage.clock.advance(12_000);
  assert.deepEqual(await stage.periods(), []);
  const fed = stage.messages.filter((line) => line === 'WATCHDOG=1').length;
  assert.ok(fed >= 8, `Fed ${fed} times in three periods`);
});

test('a period that the manager has not taken is told again', async () => {
  const stage = new Stage();
  stage.isRefusing = true;
  stage.start(60_000);
  assert.deepEqual(await stage.periods(), []);
  stage.isRefusing = false;
  await stage.clock.advance(10_000);
  assert.deepEqual(await stage.periods(), ['WATCHDOG_USEC=12000000']);
});

test('a watchdog that is short enough stays as the unit has it, and one that is not there is not made', async () => {
  const short = new Stage().start(600);
  const none = new Stage().start(undefined);
  await short.clock.advance(20_000);
  await none.clock.advance(20_000);
  assert.deepEqual([await short.periods(), await none.periods()], [[], []]);
  assert.ok(!none.messages.includes('WATCHDOG=1'), none.messages.join());
});

test('a stop that drains asks for its time, and another stop for none', async () => {
  for (const [drainMs, expected] of [
    [0, ['STOPPING=1', 'STATUS=Stopping']],
    [35_000, ['STOPPING=1', 'STATUS=Draining', 'EXTEND_TIMEOUT_USEC=50000000']],
  ] as const) {
    const stage = new Stage().start(undefined);
    await stage.clock.settle();
    stage.messages.length = 0;
    stage.manager?.stopping(drainMs);
    await stage.clock.settle();
    assert.deepEqual(stage.messages, expected);
  }
});
