/** `/status?watch`: the summary each second, and the containers that have changed, at most twice a second. */

import type { Agent } from '../agent.ts';
import type { Container, ContainersEvent } from './shapes.ts';
import { containerOf, containersOf, summaryOf } from './status.ts';
import { Broadcast, type Stream } from './streams.ts';

const tickMs = 500;
/** So that a first sight of thousands is drawn in steps. */
const chunk = 1_000;

export class Live {
  readonly #agent: Agent;
  /** Containers that something has happened to since the last tick. */
  readonly #touched = new Set<string>();
  readonly #broadcast: Broadcast;

  constructor(agent: Agent) {
    this.#agent = agent;
    this.#broadcast = new Broadcast(() => this.#begin());
  }

  /** What there is, then what changes. */
  follow(stream: Stream): void {
    stream.send('status', JSON.stringify(summaryOf(this.#agent)));
    const all = [...containersOf(this.#agent)];
    for (let at = 0; at === 0 || at < all.length; at += chunk) {
      const event: ContainersEvent = { reset: at === 0, set: all.slice(at, at + chunk), gone: [] };
      stream.send('containers', JSON.stringify(event));
    }
    this.#broadcast.add(stream);
  }

  #begin(): () => void {
    const { ledger, conditions } = this.#agent;
    const touch = (shortId: string) => void this.#touched.add(shortId);
    const endings = [ledger.touched.add(touch), conditions.touched.add(touch)];
    let ticks = 0;
    const timer = setInterval(() => {
      if (++ticks % 2 === 0) this.#broadcast.send('status', summaryOf(this.#agent));
      this.#tell();
    }, tickMs);
    return () => {
      clearInterval(timer);
      for (const end of endings) end();
      this.#touched.clear();
    };
  }

  #tell(): void {
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
