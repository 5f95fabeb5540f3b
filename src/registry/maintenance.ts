/**
 * Follows the maintenance keys of this host, which people write and the agent only reads.
 *
 * A loop of two steps: read the keys, then watch them from the next revision. Every end of the watch (etcd restarted,
 * compacted, cut off) leads back to the reading, and so to the changes meanwhile. Until the next reading the last known
 * decisions stay. The first reading comes before the first write of the agent: what a person has taken out stays out
 * over a restart. A role that may not read the keys turns maintenance off, with one warning, and nothing else.
 */

import { Backoff } from '../actor/backoff.ts';
import { type Clock, sleep } from '../actor/clock.ts';
import { deferred } from '../actor/deferred.ts';
import { type Maintenance, noMaintenance } from '../container/maintenance.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { KeyReader, Registry } from '../etcd/registry.ts';
import { maintenanceKey, maintenanceOf } from '../layout/maintenance.ts';
import type { Log } from '../log.ts';

const retryFirstMs = 100;
const retryCapMs = 1_000;
/** The wait after a refusal: a role does not change by the second. */
const refusedRetryMs = 60_000;
/** A watch that lasted this long was no false start. */
const settledMs = 5_000;

export interface MaintenanceParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly reader: KeyReader;
  /** That of etcd. */
  readonly prefix: string;
  readonly host: string;
  /** All decisions, as they are now; called when they have changed. */
  readonly onChange: (maintenance: Maintenance) => void;
}

export class MaintenanceWatch {
  readonly #parts: MaintenanceParts;
  readonly #first = deferred<void>();
  readonly #backoff: Backoff;
  #keys = new Map<string, string>();
  /** Keys that are no marks, with the values that were told. */
  readonly #told = new Map<string, string>();
  #isRefused = false;

  constructor(parts: MaintenanceParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#backoff = new Backoff(parts.clock, retryFirstMs, retryCapMs);
    void this.#follow(signal);
  }

  /** Resolves after the first reading, once etcd has refused it, or with the signal. */
  known(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      // Each claim of the host waits here, with the signal of the whole agent.
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done);
      void this.#first.promise.then(done);
    });
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, log, reader, prefix, host } = this.#parts;
    const key = maintenanceKey(prefix, host);
    while (!signal.aborted) {
      const began = clock.now();
      try {
        const found = new Map<string, string>();
        const revision = await reader.readBoth(key, ({ key, value }) => void found.set(key, value ?? ''));
        if (signal.aborted) return;
        this.#isRefused = false;
        // mutant: forget the maintenance that a reading shows
        this.#adopt(found);
        this.#first.resolve();
        const changed: Parameters<KeyReader['watchBoth']>[2] = (changes) => {
          const keys = new Map(this.#keys);
          for (const { key, value } of changes) {
            // mutant (2 lines): pass over the end of maintenance
            if (value === undefined) keys.delete(key);
            else keys.set(key, value);
          }
          if (!signal.aborted) this.#adopt(keys);
        };
        // mutant: watch maintenance from now on
        await reader.watchBoth(key, revision, changed, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ error: messageOf(error) }, 'maintenance keys are read again');
        if (codeOf(error) === 'ETCD_REFUSED') await this.#refused(error, signal);
      }
      if (clock.now() - began > settledMs) this.#backoff.reset();
      // mutant: follow maintenance once
      await sleep(clock, this.#backoff.next(), signal);
    }
  }

  #adopt(keys: Map<string, string>): void {
    const { log, onChange, prefix, host } = this.#parts;
    const isSame = keys.size === this.#keys.size && [...keys].every(([key, value]) => this.#keys.get(key) === value);
    if (isSame) return;
    this.#keys = keys;
    const refuse = (key: string, detail: string): void => {
      if (this.#told.get(key) === keys.get(key)) return;
      this.#told.set(key, keys.get(key) ?? '');
      log.warn({ key, detail }, 'maintenance key ignored');
    };
    const maintenance = maintenanceOf(prefix, host, keys, refuse);
    for (const key of this.#told.keys()) if (!keys.has(key)) this.#told.delete(key);
    onChange(maintenance);
  }

  async #refused(error: unknown, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    if (!this.#isRefused) log.warn({ error: messageOf(error) }, 'maintenance keys cannot be read: maintenance is off');
    this.#isRefused = true;
    this.#first.resolve();
    await sleep(clock, refusedRetryMs, signal);
  }
}

/** Read once, for commands. A role that may not read the keys sees none. */
export async function readMaintenance(registry: Registry, prefix: string, host: string): Promise<Maintenance> {
  const key = maintenanceKey(prefix, host);
  try {
    // Keys that continue this one are of other hosts, too.
    const found = await registry.readKeys([key]);
    const own = found.filter((one) => one.key === key || one.key.startsWith(`${key}/`));
    return maintenanceOf(
      prefix,
      host,
      own.map((one) => [one.key, one.value]),
    );
  } catch (error) {
    if (codeOf(error) === 'ETCD_REFUSED') return noMaintenance;
    throw error;
  }
}
