/** The address of the host while the agent runs: changes, gaps and guesses, on a clock of the test's own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HostAddresses, HostWatch } from '../../src/inspect/host-watch.ts';
import { BaseStage } from '../helpers/stage.ts';

const keepMs = 30_000;
const everyMs = 10_000;

/** What the machine says, and what the watch makes of it. */
class Host extends BaseStage {
  readonly changes: HostAddresses[] = [];
  looks = 0;
  found: { ip: string; ip6?: string; isCertain: boolean } | Error;
  readonly watch: HostWatch;

  constructor(first: HostAddresses = { ip: '10.0.0.5' }, isCertain = true) {
    super();
    this.found = at(first.ip, isCertain, first.ip6);
    const { clock, log, metrics } = this;
    this.watch = new HostWatch({
      ...{ clock, log, metrics, first, isCertain, keepMs },
      find: async () => {
        this.looks++;
        if (this.found instanceof Error) throw this.found;
        return this.found;
      },
      onChange: (addresses) => this.changes.push(addresses),
    });
  }

  /** The machine says this from now on; then so much time passes. */
  async says(found: typeof this.found, ms = everyMs): Promise<void> {
    this.found = found;
    await this.clock.advance(ms);
  }

  get lines(): string[] {
    return this.log.entries.filter(({ level }) => level !== 'debug').map(({ level, message }) => `${level} ${message}`);
  }
}

const at = (ip: string, isCertain = true, ip6?: string) => ({ ip, isCertain, ...(ip6 !== undefined && { ip6 }) });

describe('HostWatch', () => {
  test('tells a new address within 10 s, once, and counts it', async () => {
    const host = new Host();
    await host.says(at('10.0.0.6'), 4 * everyMs);
    assert.deepEqual(host.changes, [{ ip: '10.0.0.6' }]);
    assert.equal(host.metrics.hostAddressChanges, 1);
    assert.deepEqual(host.lines, ['info the address of this host has changed: everything is written anew']);
  });

  test('asks at a list too, but not at each of many, and not after its end', async () => {
    const host = new Host();
    host.found = at('10.0.0.6');
    await host.clock.advance(2_000);
    host.watch.listed();
    host.watch.listed();
    await host.clock.advance(10);
    assert.deepEqual([host.looks, host.changes], [1, [{ ip: '10.0.0.6' }]]);
    host.watch.stop();
    await host.says(at('10.0.0.7'), 5 * everyMs);
    assert.equal(host.changes.length, 1);
  });

  test('keeps an address that goes for as long as the lease, and says so', async () => {
    const host = new Host();
    await host.says(at('', false), 2 * everyMs);
    assert.deepEqual([host.changes, host.watch.addresses.ip], [[], '10.0.0.5']);
    assert.equal(host.watch.missingSince !== undefined, true);
    await host.says(at('10.0.0.5'));
    assert.deepEqual([host.changes, host.watch.missingSince], [[], undefined]);
    assert.deepEqual(host.lines, [
      'warn the address of this host is not found: it is kept for a while',
      'info the address of this host is found again',
    ]);
  });

  test('has none once it was kept for that long, until there is one again', async () => {
    const host = new Host();
    await host.says(at('', false), keepMs + 2 * everyMs);
    assert.deepEqual(host.changes, [{ ip: '' }]);
    assert.equal(host.watch.missingSince !== undefined, true);
    await host.says(at('10.0.0.9'));
    assert.deepEqual(host.changes, [{ ip: '' }, { ip: '10.0.0.9' }]);
    assert.equal(host.watch.missingSince, undefined);
  });

  test('believes no guess, and no other family, while it keeps an address', async () => {
    for (const other of [at('192.168.7.7', false), at('2001:db8::7')]) {
      const host = new Host();
      await host.says(other, keepMs - everyMs);
      assert.deepEqual(host.changes, []);
      await host.says(other, 3 * everyMs);
      assert.deepEqual(host.changes, [{ ip: other.ip }]);
    }
  });

  test('believes a guess where it never had anything else', async () => {
    const host = new Host({ ip: '10.0.0.5' }, false);
    await host.says(at('10.0.0.6', false));
    assert.deepEqual(host.changes, [{ ip: '10.0.0.6' }]);
  });

  test('treats the second address alike', async () => {
    const host = new Host({ ip: '10.0.0.5', ip6: '2001:db8::5' });
    await host.says(at('10.0.0.5', true, '2001:db8::6'));
    assert.deepEqual(host.changes, [{ ip: '10.0.0.5', ip6: '2001:db8::6' }]);
    await host.says(at('10.0.0.5'), keepMs - everyMs);
    assert.equal(host.changes.length, 1);
    await host.says(at('10.0.0.5'), 3 * everyMs);
    assert.deepEqual(host.changes.at(-1), { ip: '10.0.0.5' });
    assert.equal(host.watch.missingSince, undefined);
  });

  test('changes nothing where the machine cannot be asked', async () => {
    const host = new Host();
    await host.says(new Error('too many open files'), 10 * everyMs);
    assert.deepEqual(host.changes, []);
    await host.says(at('10.0.0.6'));
    assert.deepEqual(host.changes, [{ ip: '10.0.0.6' }]);
  });
});
