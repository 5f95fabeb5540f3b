/**
 * Lives of containers at random on a real engine, Docker's or Podman's: what happens to each depends on the seed, when it
 * happens on the machine.
 */
import { Random } from '../../bench/engine/random.ts';
import type { EngineClient } from './engine-client.ts';
import { type Host, knownOf } from './host.ts';

const atOnce = 6;
const advertisements = ['web:80', 'web:80,admin:81', 'dns:80/tcp,dns:81/tcp', 'web:80,bad/name:81', 'web:82'];

/** An engine, and the name of the network that a container is on by default. */
export interface Place {
  readonly engine: EngineClient;
  readonly network: 'bridge' | 'podman';
}

export interface LivesOptions {
  readonly seed: number;
  readonly rounds: number;
  readonly livesPerRound: number;
}

export interface Made {
  readonly id: string;
  readonly env: string[];
}

/**
 * Checks at the end of each round, and when all are gone, that etcd holds exactly what runs and never held anything
 * else. `made` has all containers that the host has seen, also those of an earlier call.
 */
export async function liveAtRandom(
  place: Place,
  host: Host,
  { seed, rounds, livesPerRound }: LivesOptions,
  made: Made[] = [],
): Promise<void> {
  let survivors: string[] = [];
  const removeSurvivors = (): Promise<void>[] =>
    survivors.map((id) => ask(place.engine, 'DELETE', `/containers/${id}?force=1`));
  for (let round = 0; round < rounds; round++) {
    const left: string[] = [];
    const numbers = Array.from({ length: livesPerRound }, (_, index) => round * livesPerRound + index);
    const lane = async (): Promise<void> => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        const id = await live(place, `life-${seed}-${number}`, new Random(seed * 1000 + number), made);
        if (id !== undefined) left.push(id);
      }
    };
    // Those that were left over go while the next ones come.
    await Promise.all([...removeSurvivors(), ...Array.from({ length: atOnce }, lane)]);
    survivors = left;
    await host.converged(knownOf(made));
  }
  await Promise.all(removeSurvivors());
  await host.converged(knownOf(made));
}

/** What a container may meet that has lost its port to another daemon, or goes by itself in the same moment. */
const expectedFailure =
  /address already in use|port is already allocated|already in progress|No such container|is not running|is not connected|marked for removal/;

/** By the API: what takes a process of its own each time would take most of the test's. */
async function ask(engine: EngineClient, method: 'POST' | 'DELETE', path: string, body?: object): Promise<void> {
  const { status, said } = await engine.ask(method, path, body);
  if (status >= 400 && !expectedFailure.test(said)) throw new Error(`${method} ${path}: ${status} ${said}`);
}

/** One container's life; its id if it was left running. */
async function live(place: Place, name: string, random: Random, made: Made[]): Promise<string | undefined> {
  const rm = random.chance(0.3);
  const env = [`DISCOVER=${advertisements[random.below(advertisements.length)] ?? ''}`];
  const id = await place.engine.run({ env, rm, ports: [80, 81], name });
  made.push({ id, env });
  const post = (operation: string): Promise<void> => ask(place.engine, 'POST', `/containers/${id}/${operation}`);
  const network = (operation: 'connect' | 'disconnect', force = false): Promise<void> =>
    ask(place.engine, 'POST', `/networks/${place.network}/${operation}`, { Container: id, Force: force });
  const steps = random.below(4);
  for (let step = 0; step < steps; step++) {
    switch (random.below(rm ? 4 : 6)) {
      case 0:
        await post('restart?t=0');
        break;
      case 1:
        await post(`rename?name=${name}-renamed-${step}`);
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
      await ask(place.engine, 'DELETE', `/containers/${id}?force=1`);
      return undefined;
    case 3:
      await network('disconnect');
      return id;
    default:
      return id;
  }
}
