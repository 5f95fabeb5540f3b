/** The check of `discover doctor --dial`: whether the published TCP addresses of this host accept a connection. */
import type { Config } from '../config/options.ts';
import { codeOf } from '../errors.ts';
import { layoutOf, servicePrefixOf } from '../layout/keys.ts';
import { viewsOf } from '../layout/views.ts';
import { type Check, ok, warning } from './checks.ts';
import { publishedKeys } from './compare.ts';
import { dialAll, dialSummary, isFine } from './dial.ts';

/** Addresses that a line names. */
const namedMax = 5;

/** Nothing where etcd does not answer: its own checks say so. */
export async function dialChecks(config: Config): Promise<Check[]> {
  const { EtcdRegistry } = await import('../etcd/cluster.ts');
  const { etcd, host, views, zone } = config;
  const registry = new EtcdRegistry(etcd);
  try {
    const layout = layoutOf(etcd.prefix, host.realm, host.id, viewsOf(views, host.realm, host.id, zone));
    const dialled = await dialAll(servicePrefixOf(etcd.prefix), await publishedKeys({ config, registry, layout }));
    const failing = dialled.filter((one) => !isFine(one));
    if (failing.length === 0) return [ok('dial', dialSummary(dialled))];
    const named = failing.slice(0, namedMax).map(({ url, outcome, detail }) => `${url} ${detail ?? outcome}`);
    const seen = `${dialSummary(dialled)}: ${named.join(', ')}${failing.length > namedMax ? ', …' : ''}`;
    const remedy =
      'See whether the container listens at its private port, and whether a firewall stands between; a host does not reach its own containers on macvlan and ipvlan';
    return [warning('dial', seen, remedy)];
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return [];
  } finally {
    registry.close();
  }
}
