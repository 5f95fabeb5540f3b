/** `npm test` runs a share of the tests that take long; `FULL=1`, which `npm run test:full` sets, runs all of them. */
import { type TestContext, test } from 'node:test';

export const isFull = process.env.FULL === '1';

/** How much of something: in `npm test`, and in the full run. */
export function amount<T>(share: T, full: T): T {
  return isFull ? full : share;
}

type Body = (context: TestContext) => Promise<void>;
type Rest =
  | readonly [body: Body]
  | readonly [options: { readonly skip?: string | false; readonly timeout?: number }, body: Body];

/** A test of the full run alone; its kind has another one in `npm test`. */
export function testInFull(name: string, ...rest: Rest): void {
  if (!isFull) return;
  if (rest.length === 1) void test(name, rest[0]);
  else void test(name, ...rest);
}
