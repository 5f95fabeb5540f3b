/**
 * The checks of `discover doctor` about etcd: every member, the user's permissions, and the owner of this host.
 *
 * Nothing is written. The permission to write is checked by the same transactions that write, guarded by a revision
 * that no key has: etcd checks permissions, and its space, before it compares (3.4 and later).
 */
import type { Config } from '../config/options.ts';
import type { Service } from '../container/container.ts';
import { hasMeta } from '../container/meta.ts';
import { DiscoverError, detailsOf, type ErrorDetails, type Failure, messageOf } from '../errors.ts';
import type { EtcdRegistry } from '../etcd/cluster.ts';
import { isOutOfSpace } from '../etcd/errors.ts';
import type { Member as EtcdMember } from '../etcd/member.ts';
import { noLease, revisionOf } from '../etcd/registry.ts';
import { keysOf, type Layout, layoutOf } from '../layout/keys.ts';
import { parseOwner } from '../layout/owner.ts';
import { viewsOf } from '../layout/views.ts';
import { livenessOf } from '../registry/process-identity.ts';
import { type Check, failed, ok, warning } from './checks.ts';

const impossible = revisionOf('-1');
const freeSpace = 'Compact and defragment etcd, then: etcdctl alarm disarm';

export async function etcdChecks(config: Config): Promise<Check[]> {
  const { etcd } = config;
  const members = await Promise.all(etcd.endpoints.map((endpoint) => askMember(endpoint, etcd)));
  const answering = members.find(({ answers }) => answers)?.endpoint;
  const checks = members.map(({ check, isAway }) =>
    // The other members are enough as long as they have a majority.
    isAway && answering !== undefined ? { ...check, state: 'warning' as const } : check,
  );
  if (answering === undefined) return checks;
  const { EtcdRegistry } = await import('../etcd/cluster.ts');
  const registry = new EtcdRegistry({ ...etcd, endpoints: [answering] });
  try {
    return [...checks, ...(await userChecks(registry, config))];
  } finally {
    registry.close();
  }
}

interface Asked {
  readonly endpoint: string;
  readonly check: Check;
  readonly answers: boolean;
  /** The member cannot be reached, as opposed to a refusal. */
  readonly isAway: boolean;
}

async function askMember(endpoint: string, access: Config['etcd']): Promise<Asked> {
  const { Member } = await import('../etcd/member.ts');
  const name = `etcd ${endpoint}`;
  const client = new Member(endpoint, access);
  try {
    const status = await statusOf(client);
    // The status of a learner says so only to newer clients; a read shows it to all.
    const refusal = await client
      .call('range', ({ kv }) => kv.range({ key: Buffer.from('/') }))
      .then(
        () => undefined,
        (error: unknown) => detailsOf(error).failure,
      );
    if (refusal === 'learner') {
      const seen = `${status === undefined ? 'etcd' : `etcd ${status.version}`} is a learner and serves no reads`;
      return {
        endpoint,
        check: warning(name, seen, 'Promote it: etcdctl member promote'),
        answers: false,
        isAway: true,
      };
    }
    return { endpoint, check: statusCheck(name, status), answers: true, isAway: false };
  } catch (error) {
    if (!(error instanceof DiscoverError)) throw error;
    const failure = error;
    const isAway = failure.code === 'ETCD_UNAVAILABLE' && !isAboutTls(failure.details);
    return { endpoint, check: failed(name, messageOf(failure), memberRemedy(failure)), answers: false, isAway };
  } finally {
    client.close();
  }
}

type Status = { readonly version: string; readonly leader: string; readonly errors: readonly string[] };

/** Undefined where etcd tells it to root alone, as 3.5.28 and later do: it answers all the same. Rejects as `Member.call` does. */
export async function statusOf(client: EtcdMember): Promise<Status | undefined> {
  try {
    return await client.call('status', ({ maintenance }) => maintenance.status());
  } catch (error) {
    const { failure } = detailsOf(error);
    if (failure === 'permission-denied' || failure === 'authentication-missing') return undefined;
    throw error;
  }
}

function statusCheck(name: string, status: Status | undefined): Check {
  // The checks of reads and writes say the rest.
  if (status === undefined) return ok(name, 'answers; only root is told its version and its alarms');
  const { errors, leader, version } = status;
  if (isOutOfSpace(errors)) {
    return failed(name, `etcd ${version} has raised NOSPACE and takes no writes`, freeSpace);
  }
  if (leader === '0')
    return failed(name, `etcd ${version} knows no leader`, 'See that most members run and reach each other');
  if (errors.length > 0) {
    return failed(name, `etcd ${version} says: ${errors.join(', ')}`, 'See: etcdctl alarm list, and the log of etcd');
  }
  return ok(name, `etcd ${version}`);
}

const isAboutTls = ({ failure }: ErrorDetails): boolean => failure === 'certificate' || failure === 'tls-unspoken';

function memberRemedy({ code, details }: DiscoverError): string {
  if (details.failure === 'tls-unspoken') return 'Write the endpoint as http:// and leave etcd.tls out';
  if (isAboutTls(details)) return 'Set etcd.tls.ca, .cert and .key to the files that belong to this cluster';
  if (details.failure === 'authentication-off') return 'Leave etcd.username out, or: etcdctl auth enable';
  if (code === 'ETCD_REFUSED') return 'Set etcd.username and etcd.passwordFile to a user of this cluster';
  return 'Start etcd there, or correct etcd.endpoints; write https:// if it expects TLS';
}

/** A container that does not exist, to make one key of each kind, with those of views. */
const noContainer = '0'.repeat(12);
const noService = (protocol: Service['protocol'], privatePort: number): Service => ({
  ...{ name: 'discover-doctor', protocol, privatePort, address: '192.0.2.1', port: privatePort },
});

async function userChecks(registry: EtcdRegistry, config: Config): Promise<Check[]> {
  const { id, realm } = config.host;
  const layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id, config.zone));
  const { ownerKey, recordPrefix } = layout;
  // Where every instance has a meta, it is one kind more; else it depends on the containers.
  const meta = hasMeta(config.hostAttributes, config) ? { meta: '{}' } : {};
  const services = [noService('tcp', 1), noService('udp', 2)].map((service) => ({ ...service, ...meta }));
  const keys = [...keysOf(layout, noContainer, services).keys()];
  const ownership = { lease: noLease, revision: impossible };
  const read = await permission('etcd read', config.etcd.prefix, [
    [ownerKey, () => registry.owner(ownerKey)],
    [recordPrefix, () => registry.readPrefix(recordPrefix)],
    ...keys.map((key) => [key, () => registry.readKeys([key])] as const),
  ]);
  const write = await permission('etcd write', config.etcd.prefix, [
    [ownerKey, () => registry.claim(ownerKey, '', noLease, impossible)],
    ...keys.map((key) => [key, () => registry.commit(ownerKey, ownership, [{ key, value: '' }])] as const),
  ]);
  return read.state === 'ok' ? [read, write, await ownerCheck(registry, layout, config.host)] : [read, write];
}

function accessRemedy(failure: Failure | undefined): string {
  if (failure === 'authentication-missing') return 'Set etcd.username and etcd.passwordFile';
  return failure === 'out-of-space' ? freeSpace : 'See that most members run and are healthy';
}

/** Asks for each key by itself, because roles may allow some keys and not others. */
async function permission(
  name: string,
  prefix: string,
  questions: readonly (readonly [key: string, ask: () => Promise<unknown>])[],
): Promise<Check> {
  const denied: string[] = [];
  for (const [key, ask] of questions) {
    try {
      await ask();
    } catch (error) {
      const { failure } = detailsOf(error);
      if (failure !== 'permission-denied') return failed(name, messageOf(error), accessRemedy(failure));
      denied.push(key);
    }
  }
  if (denied.length === 0) return ok(name, 'allowed for every kind of key of this host');
  const grant = `etcdctl role grant-permission <role> --prefix=true readwrite ${prefix}/`;
  return failed(name, `permission denied for ${denied.join(', ')}`, `${grant} (and the roots of views)`);
}

const realmCheck = (by: string, theirs: string, ours: string): Check =>
  warning(
    'owner',
    `${by} publishes in realm ${theirs}, and this configuration has ${ours}`,
    'Give commands the configuration of the agent: --config, DISCOVER_CONFIG or /etc/discover/config.json',
  );

async function ownerCheck(registry: EtcdRegistry, layout: Layout, host: Config['host']): Promise<Check> {
  const name = 'owner';
  const start = 'Start discover on this host';
  try {
    const owner = await registry.owner(layout.ownerKey);
    if (owner === undefined) return warning(name, `no process writes for ${host.id}`, start);
    const { ttlSeconds } = await registry.lease(owner.lease, false);
    const record = parseOwner(owner.value);
    const by = record
      ? `discover ${record.version} at ${record.ip} since ${record.started}`
      : `somebody whom the owner key does not name`;
    if (ttlSeconds <= 0) return warning(name, `${by}: its lease is gone`, start);
    if (record?.released) return warning(name, `${by} has stopped: keys go in ${ttlSeconds} s`, start);
    const liveness = livenessOf(record?.process);
    if (liveness === 'gone') return warning(name, `${by}: its process is gone, keys go in ${ttlSeconds} s`, start);
    if (record?.realm !== undefined && record.realm !== host.realm) return realmCheck(by, record.realm, host.realm);
    const seen = `${by}, ${liveness === 'alive' ? `alive here as process ${record?.process?.pid}` : `lease for ${ttlSeconds} s`}`;
    return record !== undefined && record.ip !== host.ip
      ? warning(name, `${seen}, which is not ${host.ip}`, 'If that is another machine, give each a host.id of its own')
      : ok(name, seen);
  } catch (error) {
    return failed(name, messageOf(error), 'See that most members run and are healthy');
  }
}
