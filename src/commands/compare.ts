/**
 * Compares the keys of this host in etcd with those that Docker's containers should have, read once and without the
 * agent's help.
 *
 * A container whose inspection, or a decision of a person, says that it deserves no traffic should have no keys, or its state
 * alone. Of signals and crashes only the agent knows: a container without any key that may be withheld for these is unknown,
 * unless etcd has its state. So is a container that cannot be inspected: none of its keys counts as a difference. The names of the keys of all hosts are read, to find keys of this host that are on no
 * lease and in no record. Both sides are read one
 * after the other, so a difference may be a change under way; the caller decides how often it has to be seen.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../actor/clock.ts';
import type { Config } from '../config/options.ts';
import { type ContainerId, type Inspection, shortIdOf } from '../container/container.ts';
import { markOf } from '../container/maintenance.ts';
import { type ReasonCode, type RefusalCode, withheld } from '../container/refusals.ts';
import type { Docker } from '../docker/docker.ts';
import { codeOf } from '../errors.ts';
import { type Fleet, type KeyRevision, absent as noKey, noLease, type Registry } from '../etcd/registry.ts';
import { inspectBatchMax } from '../inspect/inspector.ts';
import type { InspectionPool } from '../inspect/pool.ts';
import { foreign, type Held, ours, ourValue } from '../layout/held.ts';
import { keysOf, type Layout, layoutOf, metaPrefixOf, stateKeysOf } from '../layout/keys.ts';
import { parseMeta } from '../layout/meta.ts';
import { type OwnerRecord, parseOwner } from '../layout/owner.ts';
import { keyMatcher, viewsOf } from '../layout/views.ts';
import { longestMs as heldMaxMs } from '../lifecycle/damping.ts';
import { deservesBy, type Verdict } from '../lifecycle/deserves.ts';
import { trafficStateOf } from '../lifecycle/state.ts';
import { readMaintenance } from '../registry/maintenance.ts';
import { readHost } from '../registry/reading.ts';

export interface Difference {
  /** `no-owner`: no process writes for this host, or its owner has stopped. */
  readonly kind: 'missing' | 'left-over' | 'wrong' | 'no-owner';
  readonly key: string;
  /** The value that etcd should hold. */
  readonly expected?: string;
  /** The value in etcd; absent as well if the key is not on the owner's lease. */
  readonly found?: string;
  /** The 12 digits of the container. */
  readonly container?: string;
}

export interface Comparison {
  /** The number of running containers. */
  readonly containers: number;
  /** The number of keys that etcd should hold, without the owner key. */
  readonly keys: number;
  readonly differences: readonly Difference[];
  readonly unknown: readonly { readonly container: string; readonly detail: string }[];
  /** The keys on the owner's lease, with their values. */
  readonly published: ReadonlyMap<string, string>;
  /** What running containers offer and should have no key. */
  readonly unpublished: readonly Unpublished[];
  /** The process that writes for this host, or has written and stopped. */
  readonly owner: OwnerRecord | undefined;
}

export interface Unpublished {
  readonly container: string;
  /** The refused entry; absent if the whole container is withheld. */
  readonly entry?: string;
  readonly reason: RefusalCode | ReasonCode;
  readonly detail: string;
}

export interface Sides {
  readonly config: Config;
  readonly docker: Docker;
  readonly pool: InspectionPool;
  readonly registry: Registry & Fleet;
  readonly layout: Layout;
}

/** Connects both sides for as long as `work` takes. */
export async function withSides<Result>(config: Config, work: (sides: Sides) => Promise<Result>): Promise<Result> {
  const { DockerClient } = await import('../docker/docker.ts');
  const { createInspectionPool } = await import('../inspect/pool.ts');
  const { EtcdRegistry } = await import('../etcd/cluster.ts');
  const { id, realm } = config.host;
  const pool = createInspectionPool({ ...config, workers: 0 });
  const registry = new EtcdRegistry(config.etcd);
  try {
    const layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id, config.zone));
    const docker = new DockerClient(config.docker.endpoint, config.docker.apiVersion, systemClock);
    return await work({ config, pool, registry, docker, layout });
  } finally {
    await pool.close();
    registry.close();
  }
}

const rounds = 3;
const roundMs = 1_000;

export const isExact = ({ differences, unknown }: Comparison): boolean => differences.length + unknown.length === 0;

/** The differences of `first` that two more rounds find as well: a change under way is no difference. */
export async function compareLasting(sides: Sides, first: Comparison): Promise<Comparison> {
  const nameOf = ({ kind, key }: Difference) => `${kind} ${key}`;
  let found = first;
  for (let round = 2; round <= rounds && !isExact(found); round++) {
    await sleep(roundMs);
    const before = new Set(found.differences.map(nameOf));
    const unknownBefore = new Set(found.unknown.map(({ container }) => container));
    const now = await compare(sides);
    found = {
      ...now,
      differences: now.differences.filter((one) => before.has(nameOf(one))),
      unknown: now.unknown.filter(({ container }) => unknownBefore.has(container)),
    };
  }
  return found;
}

export async function compare(sides: Sides): Promise<Comparison> {
  const { config, docker, pool, layout } = sides;
  const engine = await docker.negotiate();
  const listed = await pool.list(engine.versionPrefix);
  const ids = listed.map(({ id }) => id);
  const wanted = new Map<string, string>();
  const owners = new Map<string, string>();
  const unknown: { container: string; detail: string }[] = [];
  const running = new Map<string, RunningInspection>();
  const maintenance = await readMaintenance(sides.registry, config.etcd.prefix, config.host.id);
  const unpublished: Unpublished[] = [];
  for (const [id, inspection] of await inspectAll(pool, engine.versionPrefix, ids)) {
    const container = shortIdOf(id);
    if (inspection.kind === 'failed') unknown.push({ container, detail: inspection.detail });
    if (inspection.kind !== 'running') continue;
    running.set(container, inspection);
    for (const { code, entry, detail } of inspection.refusals) {
      unpublished.push({ container, ...(entry !== '' && { entry }), reason: code, detail });
    }
    const isOut = markOf(maintenance, container) !== undefined;
    const verdict = deservesBy(inspection, Date.now(), config.publish, isOut);
    if (!verdict.isPublished && inspection.services.length > 0) {
      unpublished.push({ container, reason: verdict.reason, detail: withheld[verdict.reason].title });
    }
    for (const [key, value] of wantedOf(sides, container, inspection, verdict)) {
      wanted.set(key, value);
      owners.set(key, container);
    }
  }
  const { standing, owner, isOwned } = await readStanding(sides, [...wanted.keys()]);
  const isReleased = owner?.released === true;
  for (const [container, inspection] of isOwned && !isReleased ? running : []) {
    const own = [...wanted.keys()].filter((key) => owners.get(key) === container);
    const detail = withheldDetail(sides, own, standing, inspection);
    if (detail === undefined) continue;
    for (const key of own) {
      wanted.delete(key);
      standing.delete(key);
    }
    if (detail !== '') unknown.push({ container, detail });
  }
  const differences: Difference[] = [];
  if (!isOwned || isReleased) {
    differences.push({ kind: 'no-owner', key: layout.ownerKey, ...(isReleased && { found: 'released' }) });
  }
  for (const [key, expected] of wanted) {
    const container = owners.get(key) as string;
    const found = ourValue(standing.get(key)?.held);
    if (!standing.has(key)) differences.push({ kind: 'missing', key, container, expected });
    else if (found !== expected) {
      differences.push({ kind: 'wrong', key, container, expected, ...(found !== undefined && { found }) });
    }
  }
  const undecided = new Set(unknown.map(({ container }) => container));
  for (const [key, { container, held }] of standing) {
    if (wanted.has(key) || undecided.has(container)) continue;
    const found = ourValue(held);
    differences.push({ kind: 'left-over', key, container, ...(found !== undefined && { found }) });
  }
  const published = publishedOf(standing);
  return { containers: ids.length, keys: wanted.size, differences, unknown, published, unpublished, owner };
}

/** What this host has in etcd: keys on the owner's lease, and their values. Docker is not asked. */
export async function publishedKeys(
  sides: Pick<Sides, 'config' | 'registry' | 'layout'>,
): Promise<ReadonlyMap<string, string>> {
  return publishedOf((await readStanding(sides, [])).standing);
}

function publishedOf(standing: Standing['standing']): Map<string, string> {
  const published = new Map<string, string>();
  for (const [key, { held }] of standing) {
    const value = ourValue(held);
    if (value !== undefined) published.set(key, value);
  }
  return published;
}

type RunningInspection = Extract<Inspection, { kind: 'running' }>;

/** The keys of a container, by the verdict of its inspection and of a person. */
function wantedOf(
  { config, layout }: Sides,
  container: string,
  { services, names }: RunningInspection,
  verdict: Verdict,
): ReadonlyMap<string, string> {
  const tellsStates = config.meta === 'always';
  if (verdict.isPublished) return keysOf(layout, container, services, names, tellsStates ? 'ready' : undefined);
  return tellsStates ? stateKeysOf(layout, container, services, trafficStateOf(verdict)) : new Map();
}

/**
 * Of a container without any key of a service or a record: empty if its state in etcd says why, else why it may be so.
 * Undefined: it has keys, or nothing that is not seen from here explains it.
 */
function withheldDetail(
  { config, layout }: Sides,
  own: readonly string[],
  standing: Standing['standing'],
  { startedAt, traffic }: RunningInspection,
): string | undefined {
  const metas = own.filter((key) => isMeta(config, key));
  if (own.length === 0 || own.some((key) => standing.has(key) && !metas.includes(key))) return undefined;
  const states = metas.map((key) => parseMeta(ourValue(standing.get(key)?.held) ?? '').state);
  if (states.some((state) => state === 'draining' || state === 'held')) return '';
  // It should publish nothing but its state, and etcd has no state of it or another one.
  if (!own.some((key) => layout.nameOf(key) !== undefined) || states.some((state) => state !== undefined))
    return undefined;
  const { drain, flapDeaths } = config.publish;
  const mayHaveCrashed = flapDeaths > 0 && Date.now() - startedAt / 1e6 < heldMaxMs;
  const reasons = [
    ...((traffic?.wishes?.drain ?? drain) ? ['was asked to stop'] : []),
    ...(mayHaveCrashed ? ['crashes again and again'] : []),
  ];
  if (reasons.length === 0) return undefined;
  return `has no keys, and why cannot be told from outside: its agent may withhold it because it ${reasons.join(' or ')}`;
}

const isMeta = ({ etcd }: Config, key: string): boolean => key.startsWith(metaPrefixOf(etcd.prefix));

/** Inspects all containers, also those late for their batch. Ends, because each inspection has a time limit. */
export async function inspectAll(
  pool: InspectionPool,
  versionPrefix: string,
  ids: readonly ContainerId[],
): Promise<Map<ContainerId, Inspection>> {
  const found = new Map<ContainerId, Inspection>();
  const wanted = [...new Set(ids)];
  await new Promise<void>((resolve, reject) => {
    const add = (id: ContainerId, inspection: Inspection) => {
      found.set(id, inspection);
      if (found.size === wanted.length) resolve();
    };
    pool.late.add((_task, { id, inspection }) => add(id, inspection));
    const inspectAll = async () => {
      for (let start = 0; start < wanted.length; start += inspectBatchMax) {
        const reports = await pool.inspect(start, versionPrefix, wanted.slice(start, start + inspectBatchMax));
        for (const { id, inspection } of reports) add(id, inspection);
      }
    };
    if (wanted.length === 0) resolve();
    inspectAll().catch(reject);
  });
  return found;
}

interface Standing {
  /** By key; `foreign` if the key is not on the owner's lease. */
  readonly standing: Map<string, { readonly container: string; readonly held: Held }>;
  /** Undefined if there is no owner key, or if it is not legible. */
  readonly owner: OwnerRecord | undefined;
  readonly isOwned: boolean;
}

async function readStanding(
  { config, registry, layout }: Pick<Sides, 'config' | 'registry' | 'layout'>,
  wanted: readonly string[],
): Promise<Standing> {
  const owner = await registry.owner(layout.ownerKey);
  const record = parseOwner(owner?.value ?? '');
  // Views that are off in this configuration may be on for the process that writes.
  const former = keyMatcher(Array.isArray(record?.views) ? record.views : [], config.host.id);
  const containerOf = (key: string) => layout.containerOf(key) ?? former(key);
  const { lease, revision } = owner ?? { lease: noLease, revision: noKey };
  const reading = await readHost(registry, layout, { lease, revision }, { leases: [], containerOf });
  const standing = new Map<string, { container: string; held: Held }>();
  // Without an owner there is no lease on which a key should be, and a key without a lease must not pass for one on it.
  const heldAs = (held: Held): Held => (owner === undefined ? foreign : held);
  for (const [container, keys] of reading) {
    for (const [key, held] of keys) standing.set(key, { container, held: heldAs(held) });
  }
  // Another writer may have written keys that are neither on the lease nor in a record.
  const absent = new Set(wanted.filter((key) => !standing.has(key)));
  for (const { key, value, lease: found } of await registry.readKeys([...absent])) {
    const container = containerOf(key);
    if (absent.has(key) && container !== undefined) {
      standing.set(key, { container, held: heldAs(found === lease ? ours(value) : foreign) });
    }
  }
  for (const prefix of layout.sharedPrefixes) {
    for (const { key } of await keysBelow(registry, prefix)) {
      const container = layout.containerOf(key);
      if (container !== undefined && !standing.has(key)) standing.set(key, { container, held: foreign });
    }
  }
  return { standing, owner: record, isOwned: owner !== undefined };
}

/** A role need not be allowed to read the keys of all hosts. */
async function keysBelow(registry: Fleet, prefix: string): Promise<readonly KeyRevision[]> {
  try {
    return await registry.keyRevisions(prefix);
  } catch (error) {
    if (codeOf(error) === 'ETCD_REFUSED') return [];
    throw error;
  }
}
