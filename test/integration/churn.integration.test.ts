/**
 * Many lives, at random, on a real engine: whatever containers do and in whatever order, at each
 * calm moment etcd holds exactly what runs, and at no moment anything that never was true.
 *
 * `SEED=n` repeats what is done to each container; when it happens is the machine's.
 */
import { test } from 'node:test';
import { Random } from '../../bench/engine/random.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { fromDockerd, knownOf, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const rounds = 5;
const livesPerRound = 30;
const atOnce = 6;
const advertisements = ['web:80', 'web:80,admin:81', 'dns:80/tcp,dns:81/tcp', 'web:80,bad/name:81', 'web:82'];

test('150 random lives leave etcd exact at each calm moment and never untrue (real dockerd, real etcd)', {
  skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root'),
}, async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`SEED=${seed}`);
  await using dockerd = await startDockerd();
  await using host = await startHost({ source: fromDockerd(dockerd) });
  const made: { id: string; env: string[] }[] = [];
  let survivors: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const left: string[] = [];
    const numbers = Array.from({ length: livesPerRound }, (_, index) => round * livesPerRound + index);
    const lane = async (): Promise<void> => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        const id = await live(dockerd, number, new Random(seed * 1000 + number), made);
        if (id !== undefined) left.push(id);
      }
    };
    // Those that were left over go while the next ones come.
    const removal = survivors.length > 0 ? dockerd.docker('rm', '--force', ...survivors) : undefined;
    await Promise.all([removal, ...Array.from({ length: atOnce }, lane)]);
    survivors = left;
    await host.converged(knownOf(made));
  }
  await dockerd.docker('rm', '--force', ...survivors);
  await host.converged(knownOf(made));
});

/** One container's life; its id if it was left running. */
async function live(
  dockerd: Dockerd,
  number: number,
  random: Random,
  made: { id: string; env: string[] }[],
): Promise<string | undefined> {
  const rm = random.chance(0.3);
  const env = [`DISCOVER=${advertisements[random.below(advertisements.length)] ?? ''}`];
  const id = await dockerd.run({ env, rm, ports: [80, 81], name: `life-${number}` });
  made.push({ id, env });
  const again = async (...args: readonly string[]): Promise<boolean> => {
    try {
      await dockerd.docker(...args, id);
      return true;
    } catch (error) {
      // Another daemon on the machine has the port: the container does not run then, which is as good a case.
      if (!/address already in use|port is already allocated/.test(String(error))) throw error;
      return false;
    }
  };
  const steps = random.below(4);
  for (let step = 0; step < steps; step++) {
    switch (random.below(rm ? 4 : 6)) {
      case 0:
        if (!(await again('restart', '--time=0'))) return undefined;
        break;
      case 1:
        await dockerd.docker('rename', id, `renamed-${number}-${step}`);
        break;
      case 2:
        await dockerd.docker('network', 'disconnect', 'bridge', id);
        if (!(await again('network', 'connect', 'bridge'))) return undefined;
        break;
      case 3:
        await dockerd.docker('network', 'disconnect', '--force', 'bridge', id);
        await dockerd.docker('network', 'connect', 'bridge', id).catch(() => {});
        break;
      case 4:
        await dockerd.docker('stop', id);
        if (!(await again('start'))) return undefined;
        break;
      default:
        await dockerd.docker('kill', id);
        if (!(await again('start'))) return undefined;
    }
  }
  switch (random.below(5)) {
    case 0:
      await dockerd.docker('stop', id);
      return undefined;
    case 1:
      await dockerd.docker('kill', id);
      return undefined;
    case 2:
      await dockerd.docker('rm', '--force', id);
      return undefined;
    case 3:
      await dockerd.docker('network', 'disconnect', 'bridge', id);
      return id;
    default:
      return id;
  }
}
