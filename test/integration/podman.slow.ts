/** Podman at length: many lives at random, with restarts of discover among them, and servers that are stopped under load. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromDockerd, startHost } from '../helpers/host.ts';
import { liveAtRandom, type Made } from '../helpers/lives.ts';
import { startPodman } from '../helpers/podman.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';
import { describeStops, drainingServer, stopUnderLoad } from '../helpers/stops.ts';

const skip = needs('etcd', 'etcdctl', 'podman', 'docker', 'busybox', 'ip', 'root');
const livesPerRound = Math.ceil(Number(process.env.LIVES ?? amount(16, 40)) / 2);

test(`${2 * livesPerRound} random lives leave etcd exact at each calm moment and never untrue, with a restart of discover among them (real Podman, real etcd)`, {
  skip,
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

test('while servers are stopped one after the other, each request is answered by one instance or the next (real Podman, real etcd, client)', {
  skip,
}, async (t) => {
  await using podman = await startPodman();
  // Podman runs no health check without systemd: a server listens within the second after its start.
  await using host = await startHost({ source: fromDockerd(podman), args: ['--publish:after', '1'] });
  const options = {
    env: { DISCOVER: 'shop:80' },
    ports: [80],
    args: ['--stop-signal', 'TERM'],
    command: drainingServer(1),
  };
  const ids = [await podman.run(options), await podman.run(options)] as const;
  await host.converged();
  // Podman tells of a stop when it is over: a server that has stopped is still published for a moment.
  const stops = { service: 'shop', ids, serveSeconds: 1, events: ['stop', 'die'] };
  const stopped = await stopUnderLoad(podman, host, { ...stops, count: amount(5, 200) });
  t.diagnostic(`Podman ${podman.version}: ${describeStops(stopped)}`);
  assert.deepEqual(stopped.lost, []);
  assert.ok(stopped.delaysMs.every((ms) => Number.isFinite(ms)));
});
