/**
 * The page's knowledge of its own agent, from the event stream: a summary each second, and the containers as
 * they change. One object that is changed in place, because ten thousand containers would otherwise be copied
 * for each one that stops. The page is redrawn at most once for each frame of the screen.
 */

import type { ContainersEvent, SamplesEvent, Summary } from '../http/shapes.ts';
import { Containers } from './containers.ts';
import { History } from './history.ts';
import { subscribe } from './subscribe.ts';
import type { Link } from './topics.ts';

export class Here {
  readonly containers = new Containers();
  readonly history = new History();
  summary: Summary | undefined;
  link: Link = { kind: 'connecting' };
  readonly #changed: () => void;
  #frame: number | undefined;

  constructor(onChange: () => void) {
    this.#changed = onChange;
  }

  /** Until the returned function is called. */
  follow(): () => void {
    return subscribe('status', {
      on: {
        samples: ({ samples }: SamplesEvent) => this.history.restore(samples),
        status: (summary: Summary) => {
          // Another version of the agent serves another page.
          if (this.summary !== undefined && this.summary.version !== summary.version) location.reload();
          this.summary = summary;
          this.history.add(summary);
          this.#redraw();
        },
        containers: (event: ContainersEvent) => {
          this.containers.take(event);
          this.#redraw();
        },
      },
      onLink: (link) => {
        if (link.kind === this.link.kind) return;
        this.link = link;
        this.#redraw();
      },
    });
  }

  #redraw(): void {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#changed();
    });
  }
}
