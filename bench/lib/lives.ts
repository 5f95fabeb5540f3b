/** Subjects that are measured more than once in one life, as they live on a host: so a long warm-up is paid once. */
import { isExact } from './bench.ts';
import type { Figures } from './measure.ts';

export class Lives<Life extends AsyncDisposable> {
  readonly #lives = new Map<string, Life>();

  /** In the life of this name, begun by `open` unless it is under way. Who was found wrong is replaced the next time. */
  async measure(name: string, open: () => Promise<Life>, measure: (life: Life) => Promise<Figures>): Promise<Figures> {
    const life = this.#lives.get(name) ?? (await open());
    this.#lives.delete(name);
    let isSound = false;
    try {
      const figures = await measure(life);
      isSound = isExact(figures) && figures.note === undefined;
      return figures;
    } finally {
      // It would begin the next measurement with what is wrong already.
      if (isSound) this.#lives.set(name, life);
      else await life[Symbol.asyncDispose]();
    }
  }

  async end(): Promise<void> {
    for (const life of this.#lives.values()) await life[Symbol.asyncDispose]();
    this.#lives.clear();
  }
}
