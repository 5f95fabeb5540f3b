/**
 * Many lives, at random, on a real engine: whatever containers do and in whatever order, at each
 * calm moment etcd holds exactly what runs, and at no moment anything that never was true.
 *
 * `SEED=n` repeats what is done to each container; when it happens is the machine's. `LIVES=100` makes it longer.
 */
import { test } from 'node:test';
import { Random } from '../../bench/engine/random.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { fromDockerd, knownOf, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const rounds = 2;
const livesPerRound = Math.ceil(Number(process.env.LIVES ?? amount(16, 60)) / rounds);
const atOnce = 6;
const advertisements = ['web:80', 'web:80,admin:81', 'dns:80/tcp,dns:81/tcp', 'web:80,bad/name:81', 'web:82'];

test(`${rounds * livesPerRound} random lives leave etcd exact at each calm moment and never untrue (real dockerd, real etcd)`, {
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
    const removal = survivors.map((id) => ask(dockerd, 'DELETE', `/containers/${id}?force=1`));
    await Promise.all([...removal, ...Array.from({ length: atOnce }, lane)]);
    survivors = left;
    await host.converged(knownOf(made));
  }
  for (const id of survivors) await ask(dockerd, 'DELETE', `/containers/${id}?force=1`);
  await host.converged(knownOf(made));
});

/** What a container may meet that has lost its port to another daemon, or goes by itself in the same moment. */
const expectedFailure =
  /address already in use|port is already allocated|already in progress|No such container|is not running|is not connected|marked for removal/;

/** Asks dockerd by its API: what takes a process of its own each time would take most of the test's. */
async function ask(dockerd: Dockerd, method: 'POST' | 'DELETE', path: string, body?: object): Promise<void> {
  const { status, said } = await dockerd.ask(method, path, body);
  if (status >= 400 && !expectedFailure.test(said)) throw new Error(`${method} ${path}: ${status} ${said}`);
}

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
  const post = (operation: string): Promise<void> => ask(dockerd, 'POST', `/containers/${id}/${operation}`);
  const network = (operation: 'connect' | 'disconnect', force = false): Promise<void> =>
    ask(dockerd, 'POST', `/networks/bridge/${operation}`, { Container: id, Force: force });
  const steps = random.below(4);
  for (let step = 0; step < steps; step++) {
    switch (random.below(rm ? 4 : 6)) {
      case 0:
        await post('restart?t=0');
        break;
      case 1:
        await post(`rename?name=renamed-${number}-${step}`);
        break;
      case 2:
        await network('disconnect');
        await network('connect');
        break;
      case 3:
        await network('disconnect', true);
        await network('connect');
        break;
      case 4:
        await post('stop');
        await post('start');
        break;
      default:
        await post('kill');
        await post('start');
    }
  }
  switch (random.below(5)) {
    case 0:
      await post('stop');
      return undefined;
    case 1:
      await post('kill');
      return undefined;
    case 2:
      await ask(dockerd, 'DELETE', `/containers/${id}?force=1`);
      return undefined;
    case 3:
      await network('disconnect');
      return id;
    default:
      return id;
  }
}
