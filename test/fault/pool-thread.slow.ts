/**
 * A thread of the pool in a loop that it will not leave: it is given up after a while, with its pool, each time
 * anew; until then others wait, and then they are published. Not run by `npm test`, but by `npm run test:full`.
 */
import { test } from 'node:test';
import { needs } from '../helpers/run.ts';
import { loseThreads } from '../helpers/thread-fault.ts';

test(
  'a pool thread that is caught in a loop over one container costs nobody a key, and all is published once it is not (simulated engine, real etcd)',
  {
    skip: needs('etcd', 'etcdctl'),
  },
  () => loseThreads('while (existsSync(file));'),
);
