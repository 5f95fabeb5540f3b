/**
 * Many lives, at random, on a real engine: whatever containers do and in whatever order, at each
 * calm moment etcd holds exactly what runs, and at no moment anything that never was true.
 *
 * `SEED=n` repeats what is done to each container; when it happens is the machine's. `LIVES=100` makes it longer.
 */
import { test } from 'node:test';
import { startDockerd } from '../helpers/dockerd.ts';
import { fromDockerd, startHost } from '../helpers/host.ts';
import { liveAtRandom } from '../helpers/lives.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const rounds = 2;
const livesPerRound = Math.ceil(Number(process.env.LIVES ?? amount(10, 60)) / rounds);

test(`${rounds * livesPerRound} random lives leave etcd exact at each calm moment and never untrue (real dockerd, real etcd)`, {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`SEED=${seed}`);
  await using dockerd = await startDockerd();
  await using host = await startHost({ source: fromDockerd(dockerd) });
  await liveAtRandom({ engine: dockerd, network: 'bridge' }, host, { seed, rounds, livesPerRound });
});
