/** Subjects that are measured more than once in one life, as they live on a host: the warm-up is paid once, and is a long one. */
import type { Figures } from './measure.ts';
import type { World } from './world.ts';

export class Lives {
  readonly #worlds = new Map<string, World>();

  /** In the life of this name, begun by `open` unless it is under way. Who was found wrong is replaced the next time. */
  async measure(
    name: string,
    open: () => Promise<World>,
    measure: (world: World) => Promise<Figures>,
  ): Promise<Figures> {
    const world = this.#worlds.get(name) ?? (await open());
    this.#worlds.delete(name);
    let isSound = false;
    try {
      const figures = await measure(world);
      isSound = String(figures.exact).startsWith('yes') && figures.note === undefined;
      return figures;
    } finally {
      // It would begin the next measurement with what is wrong already.
      if (isSound) this.#worlds.set(name, world);
      else await world[Symbol.asyncDispose]();
    }
  }

  async end(): Promise<void> {
    for (const world of this.#worlds.values()) await world[Symbol.asyncDispose]();
    this.#worlds.clear();
  }
}
