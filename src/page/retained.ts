/** What a stream has said so far, for a tab that opens later: as events that say the same. Pure. */
import type { Sample, SamplesEvent } from '../http/shapes.ts';
import { History } from './history.ts';
import type { Topic } from './topics.ts';

type Item = Readonly<Record<string, unknown>>;

interface ItemsEvent {
  readonly reset: boolean;
  readonly set: readonly Item[];
  readonly gone: readonly string[];
}

/** Items in one event, as the agent sends them. */
const chunk = 1_000;

export class Retained {
  readonly #events: Topic['events'];
  readonly #last = new Map<string, unknown>();
  readonly #items = new Map<string, Map<unknown, Item>>();
  readonly #history = new History();

  constructor(events: Topic['events']) {
    this.#events = events;
  }

  take(name: string, data: unknown): void {
    const kept = this.#events[name];
    if (kept === 'samples') this.#history.restore((data as SamplesEvent).samples);
    else if (kept === 'last') {
      this.#last.set(name, data);
      if ('samples' in this.#events) this.#history.add(data as Sample);
    } else if (kept !== undefined) this.#change(name, kept.items, data as ItemsEvent);
  }

  /** The events that bring a tab to where the others are; none before the first event. */
  *replay(): Generator<readonly [name: string, data: unknown]> {
    for (const name of Object.keys(this.#events)) {
      const items = this.#items.get(name);
      if (this.#events[name] === 'samples') yield [name, { samples: this.#history.samples } satisfies SamplesEvent];
      else if (this.#last.has(name)) yield [name, this.#last.get(name)];
      else if (items !== undefined) yield* this.#eventsOf(name, items);
    }
  }

  *#eventsOf(name: string, items: ReadonlyMap<unknown, Item>): Generator<readonly [name: string, data: unknown]> {
    const all = [...items.values()];
    const rest = this.#last.get(`${name} rest`) as object;
    for (let at = 0; at === 0 || at < all.length; at += chunk) {
      yield [name, { ...rest, reset: at === 0, set: all.slice(at, at + chunk), gone: [] }];
    }
  }

  #change(name: string, id: string, { reset, set, gone, ...rest }: ItemsEvent): void {
    const items = (reset ? undefined : this.#items.get(name)) ?? new Map<unknown, Item>();
    this.#items.set(name, items);
    for (const item of set) items.set(item[id], item);
    for (const one of gone) items.delete(one);
    this.#last.set(`${name} rest`, rest);
  }
}
