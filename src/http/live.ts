/**
 * `/status?watch`: the samples of the last ten minutes once, the summary each second, and the containers that have changed,
 * at most twice a second.
 */

import type { Agent } from '../agent.ts';
import type { Samples } from './samples.ts';
import type { Container, ContainersEvent, SamplesEvent, Summary } from './shapes.ts';
import { containerOf, containersOf } from './status.ts';
import { Broadcast, eventOf, type Stream } from './streams.ts';

const tickMs = 500;
/** Containers in one event, so that the page draws thousands of containers in steps. */
const chunk = 1_000;

export class Live {
  readonly #agent: Agent;
  /** Containers that may have changed since the last tick. */
  readonly #touched = new Set<string>();
  readonly #broadcast: Broadcast;
  /** The first events of a stream, the same for all that begin between two ticks. */
  #first: readonly Buffer[] | undefined;
  #isPublishedKnown: boolean;

  readonly #summary: () => Summary;
  readonly #samples: Samples;

  constructor(agent: Agent, summary: () => Summary, samples: Samples) {
    this.#agent = agent;
    this.#summary = summary;
    this.#samples = samples;
    this.#isPublishedKnown = agent.isPublishedKnown;
    this.#broadcast = new Broadcast(() => this.#begin());
  }

  /** The full state, then the changes. */
  follow(stream: Stream): void {
    // Added first: a change from now on is in a later event, whether or not the first events have it already.
    this.#broadcast.add(stream);
    this.#first ??= this.#snapshot();
    for (const bytes of this.#first) stream.write(bytes);
  }

  #snapshot(): readonly Buffer[] {
    const samples: SamplesEvent = { samples: this.#samples.all };
    const events = [eventOf('samples', JSON.stringify(samples)), eventOf('status', JSON.stringify(this.#summary()))];
    const all = [...containersOf(this.#agent)];
    for (let at = 0; at === 0 || at < all.length; at += chunk) {
      const event: ContainersEvent = { reset: at === 0, set: all.slice(at, at + chunk), gone: [] };
      events.push(eventOf('containers', JSON.stringify(event)));
    }
    return events;
  }

  #begin(): () => void {
    const { ledger, conditions } = this.#agent;
    const touch = (shortId: string) => void this.#touched.add(shortId);
    const endings = [ledger.touched.add(touch), conditions.touched.add(touch)];
    this.#isPublishedKnown = this.#agent.isPublishedKnown;
    let ticks = 0;
    const timer = setInterval(() => {
      this.#first = undefined;
      if (++ticks % 2 === 0) this.#broadcast.send('status', this.#summary());
      this.#tell();
    }, tickMs);
    return () => {
      clearInterval(timer);
      for (const end of endings) end();
      this.#touched.clear();
      this.#first = undefined;
    };
  }

  #tell(): void {
    // The lease has run out, or there is one again: every container has another state, and the ledger reports none.
    if (this.#agent.isPublishedKnown !== this.#isPublishedKnown) {
      this.#isPublishedKnown = !this.#isPublishedKnown;
      for (const shortId of this.#agent.ledger.containers()) this.#touched.add(shortId);
    }
    if (this.#touched.size === 0) return;
    const set: Container[] = [];
    const gone: string[] = [];
    for (const shortId of this.#touched) {
      const container = containerOf(this.#agent, shortId);
      if (container === undefined) gone.push(shortId);
      else set.push(container);
    }
    this.#touched.clear();
    const event: ContainersEvent = { reset: false, set, gone };
    this.#broadcast.send('containers', event);
  }
}
