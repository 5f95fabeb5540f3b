/** discover killed again and again under load; `discover-killed.slow.ts` is the same at length. */
import { test } from 'node:test';
import { killOverAndOver } from '../helpers/kills.ts';
import { needs } from '../helpers/run.ts';

test('four discovers in a row are killed under load, and no key of a running container is ever deleted (simulated engine, real etcd)', {
  skip: needs('etcd', 'etcdctl'),
}, async () => {
  await killOverAndOver(4);
});
