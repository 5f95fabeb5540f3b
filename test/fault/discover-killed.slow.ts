/** `discover-killed.fault.test.ts` at length; `FAULT_KILLS` says how many. */
import { test } from 'node:test';
import { killOverAndOver } from '../helpers/kills.ts';
import { needs } from '../helpers/run.ts';

const kills = Number(process.env.FAULT_KILLS ?? 200);

test(`${kills} discovers in a row are killed under load, and no key of a running container is ever deleted (simulated engine, real etcd)`, {
  skip: needs('etcd', 'etcdctl'),
}, async (context) => {
  const { lifecycles, running, changes } = await killOverAndOver(kills);
  context.diagnostic(
    `${lifecycles} lifecycles, ${changes} changes in etcd, ${running} containers published in the end`,
  );
});
