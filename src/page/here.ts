/**
 * The page's knowledge of its own agent, from the event stream: a summary each second, and the containers as
 * they change. One object that is changed in place, because ten thousand containers would otherwise be copied
 * for each one that stops. The page is redrawn at most once for each frame of the screen.
 */

import type { Container, ContainersEvent, Summary } from '../http/shapes.ts';
import { follow, type Link } from './feed.ts';
import { History } from './history.ts';

/** The agent sends a summary each second. */
const silenceMs = 8_000;

export class Here {
  readonly containers = new Map<string, Container>();
  readonly history = new History();
  summary: Summary | undefined;
  link: Link = { kind: 'connecting' };
  /** Grows with each change of the containers. */
  revision = 0;
  /** Grows with each connection that came after a loss. */
  connections = 0;
  readonly #changed: () => void;
  #frame: number | undefined;

  constructor(onChange: () => void) {
    this.#changed = onChange;
  }

  /** Until the returned function is called. */
  follow(): () => void {
    return follow({
      path: 'status?watch',
      silenceMs,
      on: {
        status: (summary: Summary) => {
          // Another version of the agent serves another page.
          if (this.summary !== undefined && this.summary.version !== summary.version) location.reload();
          this.summary = summary;
          this.history.add(summary);
          this.#redraw();
        },
        containers: (event: ContainersEvent) => {
          this.#take(event);
          this.#redraw();
        },
      },
      onLink: (link) => {
        if (link.kind === this.link.kind) return;
        if (this.link.kind === 'lost') this.connections++;
        this.link = link;
        this.#redraw();
      },
    });
  }

  #take({ reset, set, gone }: ContainersEvent): void {
    if (reset) this.containers.clear();
    for (const container of set) this.containers.set(container.id, container);
    for (const id of gone) this.containers.delete(id);
    this.revision++;
  }

  #redraw(): void {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#changed();
    });
  }
}
