/**
 * The addresses at which readers ask this process: `http.listen`, `http.relay` and `dns.listen`. Without them nothing of this is loaded.
 *
 * All listeners open before there is an agent, so that a process that cannot listen claims no host. A reload keeps those
 * whose address stays the same: they answer all the time, first about the old agent, then about the new one. Both ask
 * one fleet, so a host costs etcd one watch, however many readers it has.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Agent } from '../agent.ts';
import type { Config } from '../config/options.ts';
import type { DnsListener, Outcomes } from '../dns/server.ts';
import type { Reload } from '../http/endpoint.ts';
import type { Fleet } from '../http/fleet.ts';
import type { Ring } from '../http/history.ts';
import type { Samples } from '../http/samples.ts';
import type { HttpListener } from '../http/server.ts';
import type { Log } from '../log.ts';

/** DNS first, because the endpoint shows it. */
const names = ['dns', 'http', 'relay'] as const;
type Name = (typeof names)[number];

type Listener = HttpListener | DnsListener;

const said = { dns: 'answering over DNS', http: 'answering over HTTP', relay: 'relaying over HTTP' } as const;

/** At a reload: how long the answers of the generation before are better than none. */
const readyMs = 2_000;

/** One generation answers at its listener. */
interface Service {
  close(): Promise<void> | void;
}

export class Doors {
  readonly #config: Config;
  readonly #listeners = new Map<Name, Listener>();
  /** Those that the generation before has opened. */
  readonly #kept = new Set<Name>();
  readonly #services = new Map<Name, Service>();
  #fleet: Fleet | undefined;
  #ring: Ring | undefined;
  #samples: Samples | undefined;
  #dns: { readonly zone: string; readonly outcomes: Outcomes } | undefined;

  private constructor(config: Config) {
    this.#config = config;
  }

  /** Opens what `before` does not have at the same address. Rejects with `LISTEN_FAILED`. */
  static async open(config: Config, before?: Doors): Promise<Doors> {
    const doors = new Doors(config);
    if (before !== undefined) {
      doors.#ring = before.#ring;
      doors.#samples = before.#samples;
    }
    try {
      for (const name of names) {
        const where = config[name]?.listen;
        if (where === undefined) continue;
        const kept = before?.at(name, where);
        const listener = kept ?? (await openAt(config, name));
        if (listener !== undefined) doors.#listeners.set(name, listener);
        if (kept !== undefined) doors.#kept.add(name);
      }
    } catch (error) {
      await doors.close(before);
      throw error;
    }
    return doors;
  }

  /** The listener of this kind at this address. */
  at(name: Name, where: unknown): Listener | undefined {
    return isDeepStrictEqual(this.#config[name]?.listen, where) ? this.#listeners.get(name) : undefined;
  }

  #isOf(others: Doors | undefined, name: Name): boolean {
    const theirs = others?.at(name, this.#config[name]?.listen);
    return theirs !== undefined && theirs === this.#listeners.get(name);
  }

  /** Answers about the agent at all listeners where this generation does not yet; those of `others` are left to them. */
  async serve(agent: Agent, log: Log, reload?: Reload, others?: Doors): Promise<void> {
    const mine = [...this.#listeners].filter(([name]) => !this.#services.has(name) && !this.#isOf(others, name));
    for (const [name, listener] of mine) {
      if (name === 'dns') this.#services.set(name, await this.#overDns(agent, listener as DnsListener));
      else if (name === 'relay') this.#services.set(name, await this.#byRelay(agent, listener as HttpListener));
      else this.#services.set(name, await this.#overHttp(agent, listener as HttpListener, reload));
      log.info({ listen: listener.name }, said[name]);
    }
  }

  async #byRelay(agent: Agent, listener: HttpListener): Promise<Service> {
    const { Relay } = await import('../http/relay.ts');
    return new Relay(listener, this.#config.relay?.hosts ?? [], await this.#fleetOf(agent));
  }

  async #overHttp(agent: Agent, listener: HttpListener, reload?: Reload): Promise<Service> {
    const { Endpoint } = await import('../http/endpoint.ts');
    const fleet = await this.#fleetOf(agent);
    const { Ring } = await import('../http/history.ts');
    const { Samples } = await import('../http/samples.ts');
    this.#ring ??= new Ring();
    this.#samples ??= new Samples();
    const kept = { ring: this.#ring, samples: this.#samples };
    return new Endpoint(listener, this.#config.http?.hosts ?? [], agent, fleet, {
      reload,
      dns: () => this.#dns,
      ...kept,
    });
  }

  async #overDns(agent: Agent, listener: DnsListener): Promise<Service> {
    const { Resolver } = await import('../dns/server.ts');
    const fleet = await this.#fleetOf(agent);
    const { dns, host, zone } = this.#config;
    if (dns === undefined) return { close: () => {} };
    const release = fleet.hold();
    // The generation before goes on answering until there is something to answer with.
    if (this.#kept.has('dns')) await fleet.ready(readyMs);
    const resolver = new Resolver(fleet, { ...dns, here: { host: host.id, zone, ip: host.ip } });
    listener.serve(resolver);
    const { outcomes } = resolver;
    this.#dns = { zone: dns.zone, outcomes };
    return { close: release };
  }

  async #fleetOf(agent: Agent): Promise<Fleet> {
    const { Fleet } = await import('../http/fleet.ts');
    const { etcd } = agent.config;
    this.#fleet ??= new Fleet(etcd, () => agent.registry.readPrefix(`${etcd.prefix}/owner/`));
    return this.#fleet;
  }

  /** Ends what this generation answers; its listeners stay. */
  async stopServing(): Promise<void> {
    const services = [...this.#services.values()];
    this.#services.clear();
    for (const service of services) await service.close();
    await this.#fleet?.close();
    this.#fleet = undefined;
  }

  /** Closes its listeners as well, except those that `others` has. */
  async close(others?: Doors): Promise<void> {
    await this.stopServing();
    for (const [name, listener] of this.#listeners) {
      if (!this.#isOf(others, name)) await listener.close();
    }
  }
}

async function openAt({ http, relay, dns }: Config, name: Name): Promise<Listener | undefined> {
  if (name === 'dns') {
    const { DnsListener } = await import('../dns/server.ts');
    return dns && DnsListener.open(dns.listen);
  }
  const { HttpListener } = await import('../http/server.ts');
  if (name === 'http') return http && HttpListener.open(http.listen);
  const { relayConnectionsMax: connectionsMax } = await import('../http/relay.ts');
  // A container may run as any user, and what it can read here is no secret to a container.
  return relay && HttpListener.open(relay.listen, { option: 'http.relay', mode: 0o666, connectionsMax });
}
