/**
 * Views: the same instances in the layouts of other readers, beside the native keys.
 *
 * A view is data: a key template and a value template. Its keys are written in the same transaction and on the same
 * lease as the native keys, so a reader never sees one without the other.
 */

import type { Protocol, Service } from '../container/container.ts';
import type { View } from './keys.ts';
import { type Instance, type KeyTemplate, parseKey, parseValue, schemeOf } from './template.ts';

/** The key and value for each instance with one of these protocols; for every instance if none is named. */
export interface Rule {
  readonly protocols?: readonly Protocol[];
  readonly key: string;
  readonly value: string;
  /** Only instances that have this attribute. */
  readonly attribute?: 'weight';
  /** Only instances that speak HTTP, or only those that do not; of both if it is not there. */
  readonly traffic?: 'http' | 'tcp';
}

const reversed = (zone: string) => zone.toLowerCase().split('.').reverse().join('/');

/** The layouts with a name, each below the configured root. */
export const presets = {
  /**
   * The etcd plugin of CoreDNS, and SkyDNS before it: `<id>-<port>.<name>.<realm>.<zone>`, and by RFC 2782
   * `<id>-<port>._<name>._<protocol>.<realm>.<zone>`. To the plugin a name is a path: it reads all keys below it, so the
   * second name needs keys of its own. No label of a service begins with an underscore. The `ttl` is always written,
   * because CoreDNS before 1.12.4 would use the id of the lease.
   */
  skydns(zone: string): Rule[] {
    const realm = `/skydns/${reversed(zone)}/{{realm:dns}}`;
    const key = `${realm}/{{name:dns}}/{{id}}-{{privatePort}}`;
    const value = '{"host":"{{ip}}","port":{{port}},"ttl":10{{skydns}}}';
    return [
      { protocols: ['tcp'], key, value },
      { protocols: ['udp', 'sctp'], key: `${key}-{{protocol}}`, value },
      { key: `${realm}/_{{protocol}}/_{{name:dns}}/{{id}}-{{privatePort}}`, value },
    ];
  },
  /**
   * etcd's naming for gRPC, with the names of Go's fields. The target is `etcd:///<target>/<realm>/<name>:`, with a colon at
   * its end: clients before 3.5.10 take every key that begins with the target, so that without it `greeter` would reach
   * `greeter-admin` as well; later ones add the slash.
   */
  grpc: (target: string): Rule[] => [
    {
      protocols: ['tcp'],
      key: `${target}/{{realm}}/{{name}}:/{{id}}-{{privatePort}}`,
      value: '{"Op":0,"Addr":"{{address}}","Metadata":{{metadata}}}',
    },
  ],
  /** registrator's `etcd://`, with the container's id instead of its name. */
  registrator(root: string): Rule[] {
    const key = `${root}/{{name}}/{{host}}:{{id}}:{{privatePort}}`;
    return [
      { protocols: ['tcp'], key, value: '{{address}}' },
      { protocols: ['udp', 'sctp'], key: `${key}:{{protocol}}`, value: '{{address}}' },
    ];
  },
  /**
   * The servers of Traefik's services. The operator defines the routers. A service over TCP is an HTTP service unless its
   * attribute `scheme` is `tcp`. Traefik refuses its whole configuration for a name it does not know, and only servers of
   * HTTP services know a weight.
   */
  traefik(root: string): Rule[] {
    const servers = '{{service}}/loadbalancer/servers/{{index}}';
    const http = { protocols: ['tcp'], traffic: 'http' } as const;
    return [
      { ...http, key: `${root}/http/services/${servers}/url`, value: '{{scheme}}://{{address}}' },
      {
        ...http,
        key: `${root}/http/services/${servers}/weight`,
        value: '{{attr:weight}}',
        attribute: 'weight',
      },
      {
        ...{ protocols: ['tcp'], traffic: 'tcp' },
        key: `${root}/tcp/services/${servers}/address`,
        value: '{{address}}',
      },
      { protocols: ['udp'], key: `${root}/udp/services/${servers}/address`, value: '{{address}}' },
    ];
  },
} satisfies Record<string, (root: string) => Rule[]>;

/** Parses `[<protocol>:] <key template> = <value template>`. Throws an `Error` that says what is wrong. */
export function customRule(text: string): Rule {
  const [, protocol, rest = ''] = /^\s*(?:(tcp|udp|sctp):\s+)?(.*)$/s.exec(text) ?? [];
  const [, key, value] = /^(\S+)\s+=\s+(.*\S)\s*$/.exec(rest) ?? [];
  if (key === undefined || value === undefined) {
    throw new Error('must be "<key template> = <value template>", after "tcp: ", "udp: " or "sctp: " for one protocol');
  }
  return protocol === undefined ? { key, value } : { protocols: [protocol as Protocol], key, value };
}

/** Throws an `Error` if a rule cannot be used beside the native keys below `prefix`. */
export function checkRule(rule: Rule, prefix: string): void {
  const { key, value } = rule;
  const { head } = parseKey(key);
  for (const native of ['service', 'meta', 'host', 'owner', 'maintenance'].map((tree) => `${prefix}/${tree}/`)) {
    if (head.startsWith(native) || native.startsWith(head)) {
      throw new Error(`must begin with a text of its own, not with what ${native} begins with`);
    }
  }
  parseValue(value);
  checkApart(rule);
}

/**
 * A container may offer one service on several ports, and on one port by several protocols. A key that is the same for
 * two of them would hold one of them and hide the other. So a key names both, or counts the offers of a name (`index`),
 * or is for one protocol alone.
 */
function checkApart({ key, protocols }: Rule): void {
  const has = (variable: string) => new RegExp(`{{${variable}(:\\w+)?}}`).test(key);
  if (has('index') && (has('name') || has('service'))) return;
  const isOfOne = protocols?.length === 1 || has('protocol');
  const missing = [...(has('privatePort') ? [] : ['ports']), ...(isOfOne ? [] : ['protocols'])];
  if (missing.length === 0) return;
  const remedies = [
    ...(has('privatePort') ? [] : ['add {{privatePort}}']),
    ...(isOfOne ? [] : ['add {{protocol}}, or write "tcp: ", "udp: " or "sctp: " before the template']),
  ];
  throw new Error(`must tell the ${missing.join(' and ')} of a service apart: ${remedies.join(', and ')}`);
}

/** The largest number of keys that an instance has in these views: without a weight, or for its weight. */
export function keysPerInstance(rules: readonly Rule[], attribute?: 'weight'): number {
  const counted = rules.filter((rule) => rule.attribute === attribute);
  const of = (protocol: Protocol, traffic: Rule['traffic'] = 'http') =>
    counted.filter((rule) => (rule.protocols?.includes(protocol) ?? true) && (rule.traffic ?? traffic) === traffic)
      .length;
  return Math.max(of('tcp', 'http'), of('tcp', 'tcp'), of('udp'), of('sctp'));
}

/** The rules of a host, parsed. */
export function viewsOf(rules: readonly Rule[], realm: string, host: string, zone?: string): View[] {
  return rules.map((rule) => {
    const [key, value] = [parseKey(rule.key), parseValue(rule.value)];
    return {
      template: key.text,
      entryOf(service, url, id, ordinal, names) {
        if (rule.protocols?.includes(service.protocol) === false) return undefined;
        if (rule.attribute !== undefined && service.attributes?.[rule.attribute] === undefined) return undefined;
        if (rule.traffic !== undefined && rule.traffic !== trafficOf(service)) return undefined;
        const { address: ip, name, port, privatePort, protocol, realm: named = realm } = service;
        const { attributes, meta, other } = service;
        // Another port would be wrong beside `{{port}}`.
        const ip6 = other?.port === port && other.address.includes(':') ? other.address : service.ip6;
        const instance: Instance = {
          ...{
            name,
            realm: named,
            host,
            id,
            ip,
            ip6,
            port,
            privatePort,
            protocol,
            url,
            ordinal,
            attributes,
            meta,
            names,
            zone,
          },
        };
        return [key.render(instance), value(instance)];
      },
      containerOf: (found) => key.containerOf(found, host),
    };
  });
}

const trafficOf = ({ attributes }: Service) => (schemeOf(attributes) === 'tcp' ? 'tcp' : 'http');

/** Finds the container of keys that other templates have made. An invalid template matches no key. */
export function keyMatcher(templates: readonly string[], host: string): (key: string) => string | undefined {
  const known: KeyTemplate[] = [];
  for (const text of templates) {
    try {
      known.push(parseKey(text));
    } catch {
      // Written by hand, or by a later version.
    }
  }
  return (key) => {
    for (const template of known) {
      const shortId = template.containerOf(key, host);
      if (shortId !== undefined) return shortId;
    }
    return undefined;
  };
}
