/**
 * `discover why <container>`: why a container is published or not, read from Docker and etcd without a running agent.
 * The container is given by its name, or by the beginning of its id if no other id begins the same.
 *
 * Exit codes: 0 etcd has everything that the container advertises; 1 something is missing; 69 the engine did not
 * answer.
 */
import { systemClock } from '../actor/clock.ts';
import type { Config } from '../config/options.ts';
import { resolveConfig } from '../config/resolve.ts';
import { readSources } from '../config/sources.ts';
import { isRecord } from '../container/address/published.ts';
import { type ContainerId, isContainerId, type Names, type Service, shortIdOf } from '../container/container.ts';
import { readInspection } from '../container/document.ts';
import { markOf, noMaintenance } from '../container/maintenance.ts';
import { namesOf } from '../container/names.ts';
import { DiscoverError, messageOf } from '../errors.ts';
import { viewOfMachine } from '../host-address.ts';
import { keysOf, layoutOf } from '../layout/keys.ts';
import { viewsOf } from '../layout/views.ts';
import { explainContainer, explainKeys, failed, type Step } from '../why/explain.ts';
import { command, dockerAndEtcd, type Io, shellOutput, tellingOfWait, warnOf, warnOfRealm } from './command.ts';
import { assignments, coloured, json, printable } from './print.ts';

interface Named {
  readonly id: ContainerId;
  readonly names: readonly string[];
}

export const why = command({
  options: { output: shellOutput },
  aliases: { '-o': '--output' },
  words: ['<container>'],
  async run({ flags, words: [name = ''], sources }, io) {
    const { config, warnings } = await resolveConfig(readSources(sources));
    warnOf(warnings, io);
    const { id, names, steps } = await tellingOfWait(dockerAndEtcd, io, explain(name, config, io));
    const reasons = [...new Set(steps.flatMap(({ reason }) => reason ?? []))];
    const isPublished = reasons.length === 0;
    if (flags.output === 'json') {
      io.write(json({ container: id ?? name, ...names, published: isPublished, reasons, steps }));
    } else if (flags.output === 'env') {
      const parts = { container: id ?? name, published: isPublished, reasons: reasons.join(' ') };
      io.write(assignments(Object.entries(parts).map(([part, value]) => [`why_${part}`, value])));
    } else for (const step of steps) io.write(lineOf(step, io.isTerminal));
    return isPublished ? 0 : 1;
  },
});

function lineOf({ about, detail, reason, remedy }: Step, isTerminal: boolean): string {
  const said = printable(`${about}: ${detail}`);
  if (reason === undefined) return `${coloured(isTerminal, 'green', 'yes')}  ${said}\n`;
  return `${coloured(isTerminal, 'red', 'no')}   ${said} (${reason})\n     ${remedy}\n`;
}

interface Explained {
  readonly id?: ContainerId;
  readonly names?: Names | undefined;
  readonly steps: readonly Step[];
}

async function explain(name: string, config: Config, io: Io): Promise<Explained> {
  const { DockerClient } = await import('../docker/docker.ts');
  const { askList } = await import('../docker/call.ts');
  const { InspectClient } = await import('../docker/inspect-client.ts');
  const { findNetworkOwner } = await import('../inspect/batch.ts');
  const docker = new DockerClient(config.docker.endpoint, config.docker.apiVersion, systemClock);
  const engine = await docker.negotiate();
  const all = containersIn(await askList(config.docker.endpoint, systemClock, engine.versionPrefix, 'all'));
  const named = all.filter(({ names }) => names.includes(name));
  const found = named.length > 0 ? named : all.filter(({ id }) => id.startsWith(name));
  const [one] = found;
  if (one === undefined) return { steps: [failed('container', 'absent', `the engine knows no container "${name}"`)] };
  if (found.length > 1) {
    const ids = found.map(({ id }) => shortIdOf(id)).join(', ');
    return { steps: [failed('container', 'ambiguous', `"${name}" may be ${ids}`)] };
  }
  const client = new InspectClient(config.docker.endpoint);
  try {
    const answer = await client.inspect(engine.versionPrefix, one.id);
    if (answer.kind === 'absent') return { steps: [failed('container', 'absent', 'it has just been removed')] };
    if (answer.kind === 'failed') return { id: one.id, steps: [failed('container', 'failing', answer.detail)] };
    const { document } = answer;
    const { docker: of, host } = config;
    const machine = viewOfMachine();
    const options = {
      ...{ ...config, filter: of.filter, hostIp: host.ip, hostIp6: host.ip6 },
      ...{ hostOnly: machine.containerAddresses, hostNetworks: machine.networksOf(host.ip, host.ip6) },
    };
    const first = readInspection(document, options);
    const isShared = first.kind === 'running' && first.sharesWith !== undefined;
    const owner = isShared ? await findNetworkOwner(client, engine.versionPrefix, document) : undefined;
    if (owner !== undefined && 'kind' in owner)
      return { id: one.id, steps: [failed('container', 'failing', owner.detail)] };
    const inspection = readInspection(document, options, owner);
    const offers = inspection.kind === 'running' ? inspection.services : [];
    const maintenance = offers.length > 0 ? await decisionOn(one.id, config) : undefined;
    const { steps, isRunning, isWithheld } = explainContainer(document, { ...options, maintenance }, inspection);
    const services = isRunning && !isWithheld ? offers : [];
    const names = namesOf(document);
    return { id: one.id, names, steps: [...steps, ...(await keySteps(one.id, services, names, config, io))] };
  } finally {
    await client.close();
  }
}

/** What a person has decided about the container. If etcd does not answer, a step about its keys says so. */
async function decisionOn(id: ContainerId, { etcd, host }: Config) {
  const { EtcdRegistry } = await import('../etcd/cluster.ts');
  const { readMaintenance } = await import('../registry/maintenance.ts');
  const registry = new EtcdRegistry(etcd);
  try {
    const maintenance = await readMaintenance(registry, etcd.prefix, host.id).catch(() => noMaintenance);
    const mark = markOf(maintenance, shortIdOf(id));
    return mark && { mark, isOfHost: maintenance.host !== undefined };
  } finally {
    registry.close();
  }
}

async function keySteps(
  id: ContainerId,
  services: readonly Service[],
  names: Names | undefined,
  { etcd, host, meta, views, zone }: Config,
  io: Io,
): Promise<Step[]> {
  if (services.length === 0) return [];
  const layout = layoutOf(etcd.prefix, host.realm, host.id, viewsOf(views, host.realm, host.id, zone));
  const wanted = keysOf(layout, shortIdOf(id), services, names, meta === 'always' ? 'ready' : undefined);
  const { EtcdRegistry } = await import('../etcd/cluster.ts');
  const { parseOwner } = await import('../layout/owner.ts');
  const registry = new EtcdRegistry(etcd);
  try {
    const owner = await registry.owner(layout.ownerKey);
    const found = await registry.readKeys([...wanted.keys()]);
    const record = parseOwner(owner?.value ?? '');
    warnOfRealm(record, host.realm, io);
    const since = record === undefined ? 'somebody unknown' : `discover ${record.version} since ${record.started}`;
    const detail = `${since} writes for ${host.id}${record?.released ? ', and has stopped in order' : ''}`;
    return explainKeys(wanted, found, owner && { lease: owner.lease, detail });
  } catch (error) {
    return [failed('etcd', 'etcd-unavailable', messageOf(error))];
  } finally {
    registry.close();
  }
}

/** Ids and names, without the slash that the engine writes before them. */
function containersIn(body: Uint8Array): Named[] {
  const list = parse(Buffer.from(body).toString());
  if (!Array.isArray(list)) throw new DiscoverError('DOCKER_UNAVAILABLE', 'Docker Engine: list is not an array');
  return list.flatMap((item: unknown) => {
    const { Id, Names } = isRecord(item) ? item : {};
    if (!isContainerId(Id)) return [];
    const names = Array.isArray(Names) ? Names.filter((one): one is string => typeof one === 'string') : [];
    return [{ id: Id, names: names.map((one) => one.replace(/^\//, '')) }];
  });
}

/** The parser's own message would quote the environment of a container. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new DiscoverError('DOCKER_UNAVAILABLE', 'Docker Engine: answer is not JSON');
  }
}
