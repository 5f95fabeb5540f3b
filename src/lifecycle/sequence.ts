/**
 * The logical clock: moments in order, and the readings of the engine that are under way.
 *
 * The wall clock cannot tell which of two things came first within a millisecond. A moment is a number: of two
 * moments the later one is larger. An inspection or a list describes the engine as it was at some time between the
 * moment at which it began and the moment at which it was taken in.
 */
export class Sequence {
  #last = 0;
  /** In the order in which they began. */
  readonly #underWay = new Set<number>();

  /** The next moment. */
  next(): number {
    return ++this.#last;
  }

  /** The moment at which a reading begins. `end` has to follow. */
  begin(): number {
    const began = this.next();
    // mutant: count no reading as under way
    this.#underWay.add(began);
    return began;
  }

  end(began: number): void {
    // mutant: end no reading
    this.#underWay.delete(began);
  }

  /** Every reading that can still arrive began at this moment or later. */
  get oldest(): number {
    // mutant: take the newest reading for the oldest
    for (const began of this.#underWay) return began;
    return this.#last + 1;
  }
}
