/**
 * One answer that several streams follow: made once for all of them, and sent when it has changed.
 *
 * If the answer cannot be made, the event is the last answer with `stale`, which says since when and why.
 */

import { messageOf } from '../errors.ts';
import type { Body } from './answers.ts';
import { Broadcast, eventOf, type Stream } from './streams.ts';

export class Poll {
  readonly #event: string;
  readonly #broadcast: Broadcast;
  #last: string | undefined;
  /** The time since which no answer can be made. */
  #staleSince: string | undefined;

  constructor(event: string, everyMs: number, read: () => Promise<Body>, onEnd: () => void) {
    this.#event = event;
    this.#broadcast = new Broadcast(() => {
      let isReading = false;
      const timer = setInterval(async () => {
        if (isReading) return;
        isReading = true;
        this.#take(
          await read().then(
            (body) => this.#answered(body),
            (error: unknown) => this.#withoutAnswer(error),
          ),
        );
        isReading = false;
      }, everyMs);
      return () => {
        clearInterval(timer);
        onEnd();
      };
    });
  }

  /** `first` is sent if there is no newer answer. */
  follow(stream: Stream, first: Body): void {
    this.#broadcast.add(stream);
    this.#last ??= textOf(first);
    stream.write(eventOf(this.#event, this.#last));
  }

  #take(next: string): void {
    if (withoutAge(next) === withoutAge(this.#last ?? '')) return;
    this.#last = next;
    this.#broadcast.sendText(this.#event, next);
  }

  #answered(body: Body): string {
    this.#staleSince = undefined;
    return textOf(body);
  }

  #withoutAnswer(error: unknown): string {
    this.#staleSince ??= new Date().toISOString();
    const since = this.#staleSince;
    const ageMs = Date.now() - Date.parse(since);
    return JSON.stringify({ ...JSON.parse(this.#last ?? '{}'), stale: { since, ageMs, cause: messageOf(error) } });
  }
}

/** An answer that differs only in its age is not news. */
const withoutAge = (answer: string): string => answer.replace(/"ageMs":\d+,/, '');

const textOf = (body: Body): string => Buffer.concat(body).toString().trimEnd();
