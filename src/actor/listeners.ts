/**
 * Any number of listeners for one kind of change.
 *
 * A listener is called at once, in the order of adding, and must not throw. The function that `add` returns removes it.
 */

export class Listeners<Values extends readonly unknown[]> {
  readonly #listeners = new Set<(...values: Values) => void>();

  /** Each call adds a listener of its own, even if the function is the same. */
  add(listener: (...values: Values) => void): () => void {
    const own = (...values: Values): void => listener(...values);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  tell(...values: Values): void {
    for (const listener of this.#listeners) listener(...values);
  }
}
