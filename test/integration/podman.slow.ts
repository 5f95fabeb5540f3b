/** Podman at length: many lives at random, and restarts of discover among them. */
import { test } from 'node:test';
import { fromDockerd, startHost } from '../helpers/host.ts';
import { liveAtRandom, type Made } from '../helpers/lives.ts';
import { startPodman } from '../helpers/podman.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const livesPerRound = Math.ceil(Number(process.env.LIVES ?? amount(16, 40)) / 2);

test(`${2 * livesPerRound} random lives leave etcd exact at each calm moment and never untrue, with a restart of discover among them (real Podman, real etcd)`, {
  skip: needs('etcd', 'etcdctl', 'podman', 'docker', 'busybox', 'ip', 'root'),
}, async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`SEED=${seed}`);
  await using podman = await startPodman();
  t.diagnostic(`Podman ${podman.version}`);
  // A list would hide an event that was not understood.
  await using host = await startHost({ source: fromDockerd(podman), args: ['--resync', '86400'] });
  const place = { engine: podman, network: 'podman' } as const;
  const made: Made[] = [];
  await liveAtRandom(place, host, { seed, rounds: 1, livesPerRound }, made);
  const again = liveAtRandom(place, host, { seed: seed + 1, rounds: 1, livesPerRound }, made);
  await host.terminate();
  await host.launch();
  await again;
});
