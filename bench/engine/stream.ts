/**
 * One subscriber of `/events`: what of the published events reaches it, and in which pieces.
 *
 * Without faults every event is written at once as one chunk. A reader that does not read loses
 * events without being told, as with dockerd; unlike dockerd's, this engine is not slowed by it.
 */
import type { Filters, Published } from './events.ts';
import type { FaultSettings } from './faults.ts';
import { type ChunkedBody, chunk } from './http.ts';
import type { Random } from './random.ts';

/** dockerd keeps 1,024 events for a subscriber; at half a kilobyte each this is as many. */
const backlogBytesMax = 512 * 1024;
const holdMs = 5;

export interface StreamOptions {
  readonly filters: Filters;
  readonly until: bigint | undefined;
  /** With `status`, `id` and `from`. */
  readonly legacy: boolean;
  readonly faults: Readonly<FaultSettings>;
  readonly random: Random;
}

export class EventStream {
  readonly #body: ChunkedBody;
  readonly #options: StreamOptions;
  #overtaken: Published | undefined;
  #joined: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #bytesLeft = Number.POSITIVE_INFINITY;
  /** Events it should have had and has not: dropped, silenced or not read. */
  lost = 0;

  /** Half of what is kept for a reader waits for it: a little more, and it loses events. */
  get isBehind(): boolean {
    return this.#body.backlogBytes > backlogBytesMax / 2;
  }

  constructor(body: ChunkedBody, options: StreamOptions) {
    this.#body = body;
    this.#options = options;
  }

  deliver(published: Published): void {
    const { faults, filters, random, until } = this.#options;
    if (
      !(faults.unfiltered || filters.includes(published.event)) ||
      (until !== undefined && published.timeNano > until)
    )
      return;
    if (faults.silence || random.chance(faults.dropEvents) || this.#body.backlogBytes > backlogBytesMax) {
      this.lost++;
      return;
    }
    if (!this.#overtaken && random.chance(faults.reorderEvents)) {
      this.#overtaken = published;
      this.#flushSoon();
      return;
    }
    this.#write(published);
    if (random.chance(faults.duplicateEvents)) this.#write(published);
    const overtaken = this.#overtaken;
    this.#overtaken = undefined;
    if (overtaken) this.#write(overtaken);
  }

  /** Ends the stream after so many bytes of events more. */
  cut(afterBytes: number): void {
    this.#bytesLeft = afterBytes;
    if (afterBytes === 0) this.#body.end('torn');
  }

  /** Ends the answer as a whole. */
  end(): void {
    this.flush();
    this.#body.end();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const overtaken = this.#overtaken;
    this.#overtaken = undefined;
    if (overtaken) this.#write(overtaken);
    this.#send(Buffer.concat(this.#joined.splice(0)));
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => this.flush(), holdMs);
  }

  #write(published: Published): void {
    const { faults, legacy } = this.#options;
    if (faults.joinEvents > 1) {
      this.#joined.push(published.line(legacy));
      if (this.#joined.length >= faults.joinEvents) this.#send(Buffer.concat(this.#joined.splice(0)));
      else this.#flushSoon();
    } else if (faults.chunkBytes > 0 || this.#bytesLeft !== Number.POSITIVE_INFINITY) {
      this.#send(published.line(legacy));
    } else {
      this.#body.write(published.frame(legacy));
    }
  }

  #send(lines: Buffer): void {
    if (lines.length === 0) return;
    const bytes = lines.subarray(0, this.#bytesLeft);
    this.#bytesLeft -= bytes.length;
    const size = this.#options.faults.chunkBytes || bytes.length;
    for (let at = 0; at < bytes.length; at += size) this.#body.write(chunk(bytes.subarray(at, at + size)));
    if (this.#bytesLeft <= 0) this.#body.end('torn');
  }
}
