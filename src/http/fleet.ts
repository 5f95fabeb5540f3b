/**
 * What stands in etcd, of all hosts: for the page, for scripts and for Prometheus's discovery. Read by the same client that
 * other programs use, from the first question on and until nobody has asked for ten minutes.
 */

import { DiscoverClient } from '../client/index.ts';
import type { EtcdAccess } from '../etcd/access.ts';
import type { FoundKey } from '../etcd/registry.ts';
import type { Instance } from '../layout/instance.ts';
import { noLease, parseOwner } from '../layout/owner.ts';
import type { HostRow, Stale } from './shapes.ts';

/** Who looks at the same moment is told the same. */
const freshMs = 1_000;

export class Fleet {
  readonly #access: EtcdAccess & { readonly prefix: string };
  readonly #readOwners: () => Promise<readonly FoundKey[]>;
  #client: DiscoverClient | undefined;
  #isClosed = false;
  #hosts: { readonly atMs: number; readonly rows: Promise<HostRow[]> } | undefined;

  /** `readOwners` reads all owner keys. */
  constructor(access: EtcdAccess & { readonly prefix: string }, readOwners: () => Promise<readonly FoundKey[]>) {
    this.#access = access;
    this.#readOwners = readOwners;
  }

  get client(): DiscoverClient {
    this.#client ??= new DiscoverClient(this.#access);
    if (this.#isClosed) void this.#client.close();
    return this.#client;
  }

  get stale(): Stale | undefined {
    const stale = this.#client?.stale;
    return stale && { ageMs: Math.round(stale.ageMs), cause: stale.cause.message };
  }

  async instances(): Promise<Instance[]> {
    const names = [...(await this.client.services()).keys()];
    return (await Promise.all(names.map((name) => this.client.resolve(name)))).flat();
  }

  hosts(): Promise<HostRow[]> {
    const nowMs = performance.now();
    if (this.#hosts === undefined || nowMs - this.#hosts.atMs > freshMs) {
      this.#hosts = { atMs: nowMs, rows: this.#readHosts() };
    }
    return this.#hosts.rows;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#client?.close();
  }

  async #readHosts(): Promise<HostRow[]> {
    const [owners, instances] = await Promise.all([this.#readOwners(), this.instances()]);
    const counts = new Map<string, number>();
    for (const { host } of instances) counts.set(host, (counts.get(host) ?? 0) + 1);
    const rows = new Map<string, HostRow>();
    for (const { key, value, lease } of owners) {
      const host = key.slice(key.lastIndexOf('/') + 1);
      const record = parseOwner(value);
      const text = (word: unknown) => (typeof word === 'string' ? word : null);
      rows.set(host, {
        host,
        alive: lease !== noLease,
        version: text(record?.version),
        ip: text(record?.ip),
        startedAt: text(record?.started),
        released: record?.released === true,
        instances: counts.get(host) ?? 0,
      });
    }
    // Written by hand, or by something else than discover.
    const ownerless = { alive: false, version: null, ip: null, startedAt: null, released: false };
    for (const [host, count] of counts) if (!rows.has(host)) rows.set(host, { host, ...ownerless, instances: count });
    return [...rows.values()].sort((one, other) => (one.host < other.host ? -1 : 1));
  }
}

/** What Prometheus's `http_sd_configs` takes. */
export function targetsOf(instances: readonly Instance[]): object[] {
  return instances.map(({ name, realm, host, containerId, protocol, address, port }) => ({
    targets: [address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`],
    labels: {
      __meta_discover_service: name,
      __meta_discover_realm: realm,
      __meta_discover_host: host,
      __meta_discover_container: containerId,
      __meta_discover_protocol: protocol,
    },
  }));
}
