/**
 * Instances as targets of Prometheus's `http_sd_configs`.
 *
 * Everything an instance says of itself is a label `__meta_discover_…`, which relabelling reads and no series keeps. The
 * attributes `scheme` and `metrics-path` are where Prometheus asks it.
 */

import type { Instance } from '../layout/instance.ts';

interface Target {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export function targetOf(instance: Instance): Target {
  const { name, realm, host, containerId, protocol, address, port, privatePort, weight, priority } = instance;
  const { tags, zone, container, image, compose, attributes = {} } = instance;
  const known: Readonly<Record<string, string | number | undefined>> = {
    service: name,
    realm,
    host,
    container: containerId,
    protocol,
    private_port: privatePort,
    weight,
    priority,
    // With a comma on both sides, as for Consul, so that `.*,a,.*` finds a tag in any place.
    tags: tags && `,${tags.join(',')},`,
    zone,
    container_name: container,
    image,
    compose_project: compose?.project,
    compose_service: compose?.service,
  };
  const labels: Record<string, string> = {};
  for (const [label, value] of Object.entries(known)) {
    if (value !== undefined) labels[`__meta_discover_${label}`] = String(value);
  }
  for (const [label, value] of labelsOf(attributes)) labels[`__meta_discover_attribute_${label}`] = value;
  const path = attributes['metrics-path'];
  if (path?.startsWith('/')) labels.__metrics_path__ = path;
  // Traefik knows a third scheme, h2c.
  if (attributes.scheme === 'http' || attributes.scheme === 'https') labels.__scheme__ = attributes.scheme;
  return { targets: [address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`], labels };
}

/**
 * Attributes under names that a label may have. If two would have the same name, an attribute that has it as its own name
 * comes first, then the first in alphabetical order.
 */
function labelsOf(attributes: Readonly<Record<string, string>>): Map<string, string> {
  const labels = new Map<string, string>();
  for (const [name, value] of Object.entries(attributes).sort(([one], [other]) => (one < other ? -1 : 1))) {
    const label = name.replaceAll(/[^a-zA-Z0-9_]/g, '_');
    if (label === name || !labels.has(label)) labels.set(label, value);
  }
  return labels;
}

/** The fields of an instance that `/sd` selects by, and their values; null stands for any. */
export type Wanted = readonly (readonly [field: 'name' | 'realm' | 'host' | 'protocol', value: string | null])[];

/** The same for every way to write the query. */
export function wantedOf(query: URLSearchParams): Wanted {
  const fields = ['name', 'realm', 'host', 'protocol'] as const;
  return fields.map((field) => [field, query.get(field === 'name' ? 'service' : field)] as const);
}
