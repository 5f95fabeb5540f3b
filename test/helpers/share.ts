/** `npm test` runs a share of the tests that take long; `FULL=1`, which `npm run test:full` sets, runs all of them. */
export const isFull = process.env.FULL === '1';

/** How much of something: in `npm test`, and in the full run. */
export function amount<T>(share: T, full: T): T {
  return isFull ? full : share;
}
