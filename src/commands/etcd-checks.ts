/**
 * What `discover doctor` looks at in etcd: every member, what the user may do, and who writes for this host.
 *
 * Nothing is written. Whether discover would be let write is asked by the very transactions that write, guarded by a
 * revision that no key has: etcd looks at permissions, and whether it has room, before it compares (3.4 and later).
 */
import type { Config } from '../config/options.ts';
import type { Service } from '../container/container.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { EtcdRegistry } from '../etcd/cluster.ts';
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
    // The others are enough for as long as they lead.
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

interface Member {
  readonly endpoint: string;
  readonly check: Check;
  readonly answers: boolean;
  /** It cannot be reached, as opposed to: it will not. */
  readonly isAway: boolean;
}

async function askMember(endpoint: string, access: Config['etcd']): Promise<Member> {
  const { Member: EtcdMember } = await import('../etcd/member.ts');
  const name = `etcd ${endpoint}`;
  const client = new EtcdMember(endpoint, access);
  try {
    const { version, leader, errors } = await client.call('status', ({ maintenance }) => maintenance.status());
    const check = errors.some((text) => text.includes('NOSPACE'))
      ? failed(name, `etcd ${version} has raised NOSPACE and takes no writes`, freeSpace)
      : leader === '0'
        ? failed(name, `etcd ${version} knows no leader`, 'See that most members run and reach each other')
        : errors.length > 0
          ? failed(name, `etcd ${version} says: ${errors.join(', ')}`, 'See: etcdctl alarm list, and the log of etcd')
          : ok(name, `etcd ${version}`);
    return { endpoint, check, answers: true, isAway: false };
  } catch (error) {
    const failure = error as Error;
    const isAway = codeOf(failure) === 'ETCD_UNAVAILABLE' && !aboutTls.test(failure.message);
    return { endpoint, check: failed(name, messageOf(failure), memberRemedy(failure)), answers: false, isAway };
  } finally {
    client.close();
  }
}

const aboutTls = /etcd\.tls|certificate of the server|does not speak TLS/;

function memberRemedy(error: Error): string {
  const text = error.message;
  if (text.includes('does not speak TLS')) return 'Write the endpoint as http:// and leave etcd.tls out';
  if (aboutTls.test(text)) return 'Set etcd.tls.ca, .cert and .key to the files that belong to this cluster';
  if (text.includes('authentication is not enabled')) return 'Leave etcd.username out, or: etcdctl auth enable';
  if (codeOf(error) === 'ETCD_REFUSED') return 'Set etcd.username and etcd.passwordFile to a user of this cluster';
  return 'Start etcd there, or mend etcd.endpoints; write https:// if it expects TLS';
}

/** Of a container that is none: what it takes of each kind of key, those of views included. */
const noContainer = '0'.repeat(12);
const noService = (protocol: Service['protocol'], privatePort: number): Service => ({
  ...{ name: 'discover-doctor', protocol, privatePort, url: `${protocol}://192.0.2.1:${privatePort}` },
});

async function userChecks(registry: EtcdRegistry, config: Config): Promise<Check[]> {
  const { id, realm } = config.host;
  const layout = layoutOf(config.etcd.prefix, realm, id, viewsOf(config.views, realm, id));
  const { ownerKey, recordPrefix } = layout;
  const keys = [...keysOf(layout, noContainer, [noService('tcp', 1), noService('udp', 2)]).keys()];
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

/** Asks for each key by itself, because roles may allow some and not others. */
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
      const text = messageOf(error);
      if (text.includes('user name is empty')) return failed(name, text, 'Set etcd.username and etcd.passwordFile');
      if (text.includes('space exceeded')) return failed(name, text, freeSpace);
      if (!text.includes('permission denied')) return failed(name, text, 'See that most members run and are healthy');
      denied.push(key);
    }
  }
  if (denied.length === 0) return ok(name, 'allowed for every kind of key of this host');
  const grant = `etcdctl role grant-permission <role> --prefix=true readwrite ${prefix}/`;
  return failed(name, `permission denied for ${denied.join(', ')}`, `${grant} (and the roots of views)`);
}

async function ownerCheck(registry: EtcdRegistry, layout: Layout, host: Config['host']): Promise<Check> {
  const name = 'owner';
  const start = 'Start discover on this host';
  try {
    const owner = await registry.owner(layout.ownerKey);
    if (owner === undefined) return warning(name, `nobody writes for ${host.id}`, start);
    const { ttlSeconds } = await registry.lease(owner.lease, false);
    const record = parseOwner(owner.value);
    const by = record
      ? `discover ${record.version} at ${record.ip} since ${record.started}`
      : `somebody whom the owner key does not name`;
    if (ttlSeconds <= 0) return warning(name, `${by}: its lease is gone`, start);
    if (record?.released) return warning(name, `${by} has stopped: keys go in ${ttlSeconds} s`, start);
    const liveness = livenessOf(record?.process);
    if (liveness === 'gone') return warning(name, `${by}: its process is gone, keys go in ${ttlSeconds} s`, start);
    const seen = `${by}, ${liveness === 'alive' ? `alive here as process ${record?.process?.pid}` : `lease for ${ttlSeconds} s`}`;
    return record !== undefined && record.ip !== host.ip
      ? warning(name, `${seen}, which is not ${host.ip}`, 'If that is another machine, give each a host.id of its own')
      : ok(name, seen);
  } catch (error) {
    return failed(name, messageOf(error), 'See that most members run and are healthy');
  }
}
