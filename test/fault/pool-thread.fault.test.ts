/**
 * Threads of the pool that are lost over one container's document: it is asked for again and again, everybody
 * else is published beside it, and nothing is deleted. One that never comes back is in `pool-thread.slow.ts`.
 */
import { describe, test } from 'node:test';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';
import { loseThreads } from '../helpers/thread-fault.ts';

const faults: Readonly<Record<string, string>> = {
  'throws where nobody catches': `setImmediate(() => { throw new Error('thrown'); });`,
  'leaves a rejection unhandled': `Promise.reject(new Error('rejected'));`,
  exits: 'process.exit(1);',
  'runs out of memory': 'const kept = []; for (;;) kept.push(new Array(100_000).fill(kept.length));',
};

describe('a pool thread', { skip: needs('etcd', 'etcdctl'), concurrency: 2 }, () => {
  for (const [name, fault] of Object.entries(faults).slice(amount(2, 0), amount(3, 4))) {
    test(`that ${name} over one container costs nobody else a key, and that one is published once it does not (simulated engine, real etcd)`, () =>
      loseThreads(fault));
  }
});
