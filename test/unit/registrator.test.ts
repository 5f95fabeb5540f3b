/**
 * The source `registrator` against a golden set: containers as an engine shows them, and what registrator's rules make of each.
 * The comment of a group names the rule. A second, independent statement of the rules is held against random containers.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../bench/engine/random.ts';
import { readDeclaration } from '../../src/container/sources/declaration.ts';
import { readRegistrator } from '../../src/container/sources/registrator.ts';

interface Row {
  readonly image?: string;
  readonly env?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Published ports; `-` before one that is exposed and not published. */
  readonly ports?: string;
  readonly host?: boolean;
  readonly explicit?: boolean;
  /** `name:port/protocol`, then tags in brackets and attributes in braces. */
  readonly gives: string;
}

const golden: Readonly<Record<string, readonly Row[]>> = {
  'the name is the last part of the image, cut at the first colon': [
    { image: 'nginx', ports: '80', gives: 'nginx:80/tcp' },
    { image: 'nginx:1.27', ports: '80', gives: 'nginx:80/tcp' },
    { image: 'library/redis:7', ports: '6379', gives: 'redis:6379/tcp' },
    { image: 'registry.example:5000/team/shop:1.0', ports: '80', gives: 'shop:80/tcp' },
    { image: 'registry.example:5000/team/shop', ports: '80', gives: 'shop:80/tcp' },
    { image: 'shop:1@sha256:0123', ports: '80', gives: 'shop:80/tcp' },
  ],
  'SERVICE_NAME replaces it, and an empty one does not': [
    { env: ['SERVICE_NAME=web'], ports: '80', gives: 'web:80/tcp' },
    { labels: { SERVICE_NAME: 'web' }, ports: '80', gives: 'web:80/tcp' },
    { env: ['SERVICE_NAME='], ports: '80', gives: 'nginx:80/tcp' },
    { env: ['SERVICE_NAME=a=b'], ports: '80', gives: 'a=b:80/tcp' },
    { env: ['service_name=web', 'XSERVICE_NAME=x', 'SERVICE_NAME'], ports: '80', gives: 'nginx:80/tcp' },
  ],
  'of several published ports each has its number behind the name': [
    { ports: '80 443', gives: 'nginx-80:80/tcp nginx-443:443/tcp' },
    { env: ['SERVICE_NAME=web'], ports: '443 80', gives: 'web-80:80/tcp web-443:443/tcp' },
    { ports: '80 -443', gives: 'nginx:80/tcp' },
    { ports: '53 53/udp', gives: 'nginx-53:53/tcp nginx-53:53/udp [udp]' },
  ],
  'a name of the port itself has no number, and counts before the general one': [
    { env: ['SERVICE_80_NAME=web'], ports: '80 443', gives: 'web:80/tcp nginx-443:443/tcp' },
    { env: ['SERVICE_80_NAME=web', 'SERVICE_443_NAME=tls'], ports: '80 443', gives: 'web:80/tcp tls:443/tcp' },
    { env: ['SERVICE_80_NAME=web', 'SERVICE_NAME=all'], ports: '80 443', gives: 'web:80/tcp all-443:443/tcp' },
    { env: ['SERVICE_NAME=all', 'SERVICE_80_NAME=web'], ports: '80', gives: 'web:80/tcp' },
    { env: ['SERVICE_81_NAME=web'], ports: '80', gives: 'nginx:80/tcp' },
    { env: ['SERVICE_80_NAME='], ports: '80 81', gives: 'nginx:80/tcp nginx-81:81/tcp' },
  ],
  'of general ones the later counts, a label after the environment': [
    { env: ['SERVICE_NAME=a', 'SERVICE_NAME=b'], ports: '80', gives: 'b:80/tcp' },
    { env: ['SERVICE_NAME=env'], labels: { SERVICE_NAME: 'label' }, ports: '80', gives: 'label:80/tcp' },
    { env: ['SERVICE_TAGS=a'], labels: { SERVICE_TAGS: 'b' }, ports: '80', gives: 'nginx:80/tcp [b]' },
  ],
  'of those of a port the first counts, the environment before a label': [
    { env: ['SERVICE_80_NAME=a', 'SERVICE_80_NAME=b'], ports: '80', gives: 'a:80/tcp' },
    { env: ['SERVICE_80_NAME=env'], labels: { SERVICE_80_NAME: 'label' }, ports: '80', gives: 'env:80/tcp' },
    { labels: { SERVICE_80_NAME: 'label', SERVICE_NAME: 'all' }, ports: '80', gives: 'label:80/tcp' },
  ],
  'any text in IGNORE leaves a port, or all ports, out, and the others keep their numbers': [
    { env: ['SERVICE_IGNORE=true'], ports: '80', gives: '' },
    { env: ['SERVICE_IGNORE=false'], ports: '80 443', gives: '' },
    { env: ['SERVICE_IGNORE='], ports: '80', gives: 'nginx:80/tcp' },
    { env: ['SERVICE_443_IGNORE=1'], ports: '80 443', gives: 'nginx-80:80/tcp' },
    { labels: { SERVICE_80_IGNORE: 'x' }, ports: '80', gives: '' },
  ],
  'a range of ports can be ignored, and a protocol can be named': [
    {
      env: ['SERVICE_8000-8010_IGNORE=1'],
      ports: '80 8000 8005 8010 8011',
      gives: 'nginx-80:80/tcp nginx-8011:8011/tcp',
    },
    { env: ['SERVICE_53_UDP_NAME=dns'], ports: '53 53/udp', gives: 'nginx-53:53/tcp dns:53/udp [udp]' },
    { env: ['SERVICE_53_TCP_IGNORE=1', 'SERVICE_53_NAME=dns'], ports: '53 53/udp', gives: 'dns:53/udp [udp]' },
  ],
  'tags are parted by commas, and a backslash keeps one': [
    { env: ['SERVICE_TAGS=a,b'], ports: '80', gives: 'nginx:80/tcp [a b]' },
    { env: ['SERVICE_TAGS=a\\,b,c'], ports: '80', gives: 'nginx:80/tcp [a,b c]' },
    { env: ['SERVICE_80_TAGS=x', 'SERVICE_TAGS=y'], ports: '80 81', gives: 'nginx-80:80/tcp [x] nginx-81:81/tcp [y]' },
    { env: ['SERVICE_TAGS=x'], ports: '53/udp', gives: 'nginx:53/udp [x udp]' },
    { env: ['SERVICE_TAGS='], ports: '80', gives: 'nginx:80/tcp' },
  ],
  'each other key is an attribute in lower case; ID is none': [
    { env: ['SERVICE_VERSION=2', 'SERVICE_Region=eu'], ports: '80', gives: 'nginx:80/tcp {region=eu version=2}' },
    { env: ['SERVICE_80_CHECK_HTTP=/health'], ports: '80', gives: 'nginx:80/tcp {check_http=/health}' },
    { env: ['SERVICE_ID=x', 'SERVICE_80_ID=y'], ports: '80', gives: 'nginx:80/tcp' },
    { env: ['SERVICE_A_B=c'], ports: '80', gives: 'nginx:80/tcp {a_b=c}' },
  ],
  'in the network of the host every exposed port counts': [
    { ports: '-80 -443', host: true, gives: 'nginx-80:80/tcp nginx-443:443/tcp' },
    { ports: '-80', host: true, env: ['SERVICE_NAME=web'], gives: 'web:80/tcp' },
  ],
  'in explicit mode only what has a name of its own counts': [
    { ports: '80', explicit: true, gives: '' },
    { ports: '80 81', explicit: true, env: ['SERVICE_80_NAME=web'], gives: 'web:80/tcp' },
    { ports: '80', explicit: true, labels: { SERVICE_NAME: 'web' }, gives: 'web:80/tcp' },
  ],
  'nothing is published, and nothing counts': [
    { ports: '', gives: '' },
    { ports: '-80', gives: '' },
    { ports: '-80', env: ['SERVICE_NAME=web'], gives: '' },
  ],
};

function documentOf({ image = 'nginx', env = [], labels = {}, ports = '', host = false }: Row): object {
  const all = ports.split(' ').filter((text) => text !== '');
  const keyOf = (text: string): string => (text.includes('/') ? text : `${text}/tcp`).replace('-', '');
  const published = all.map((text) => [
    keyOf(text),
    text.startsWith('-') ? null : [{ HostIp: '0.0.0.0', HostPort: String(30_000 + Number.parseInt(text, 10)) }],
  ]);
  return {
    Config: {
      Image: image,
      Env: env,
      Labels: labels,
      ExposedPorts: Object.fromEntries(all.map((text) => [keyOf(text), {}])),
    },
    HostConfig: { NetworkMode: host ? 'host' : 'default' },
    NetworkSettings: { Ports: host ? {} : Object.fromEntries(published) },
  };
}

function told(row: Row): string {
  return [...readRegistrator(documentOf(row), row.explicit)]
    .map(({ name, privatePort, protocol, attributes: made }) => {
      const attributes = made();
      const tags = attributes.flatMap((one) => (one.name === 'tags' ? [one.value].flat() : []));
      const others = attributes
        .flatMap((one) => (one.name === 'tags' ? [] : [`${one.name}=${String(one.value)}`]))
        .sort();
      const parts = [tags.length > 0 ? `[${tags.join(' ')}]` : '', others.length > 0 ? `{${others.join(' ')}}` : ''];
      return [`${name}:${privatePort}/${protocol}`, ...parts].filter((part) => part !== '').join(' ');
    })
    .join(' ');
}

describe('As with registrator', () => {
  for (const [rule, rows] of Object.entries(golden)) {
    test(rule, () => {
      for (const row of rows) assert.equal(told(row), row.gives, JSON.stringify(row));
    });
  }
  test('in at least forty containers', () => assert.ok(Object.values(golden).flat().length >= 40));
});

/** The rules once more, in another order of thought: for each port, which declaration wins each key. */
function restated(row: Row): string[] {
  const declarations = [
    ...(row.env ?? []).map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)] as const),
    ...Object.entries(row.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
  ].map(([key, value]) => ({ words: key.toLowerCase().split('_').slice(1), value }));
  const ports = (row.ports ?? '')
    .split(' ')
    .filter((text) => text !== '' && !text.startsWith('-'))
    .map((text) => ({ port: Number.parseInt(text, 10), protocol: text.split('/')[1] ?? 'tcp' }))
    .sort((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol));
  return ports.flatMap(({ port, protocol }) => {
    const winner = (key: string) => {
      const own = declarations.find(({ words: [first, ...rest] }) => {
        const [protocolWord] = rest;
        const without = ['tcp', 'udp'].includes(protocolWord ?? '') ? rest.slice(1) : rest;
        const isOther = without !== rest && protocolWord !== protocol;
        return first === String(port) && !isOther && without.join('_') === key;
      });
      const general = declarations.filter(({ words }) => words.join('_') === key).at(-1);
      return { value: (own ?? general)?.value ?? '', isOwn: own !== undefined };
    };
    if (winner('ignore').value !== '') return [];
    const name = winner('name');
    const base = name.value === '' ? 'nginx' : name.value;
    return [`${base}${ports.length > 1 && !name.isOwn ? `-${port}` : ''}:${port}/${protocol}`];
  });
}

test('500 random containers give what a second statement of the rules gives', () => {
  const random = new Random(7);
  const pick = <T>(items: readonly T[]): T => items[random.below(items.length)] as T;
  for (let run = 0; run < 500; run++) {
    const declaration = (): [string, string] => {
      const scope = pick(['', '', '80_', '53_', '53_UDP_', '80_TCP_', '99_']);
      return [`SERVICE_${scope}${pick(['NAME', 'NAME', 'IGNORE', 'TAGS', 'VERSION'])}`, pick(['', 'a', 'b', 'c'])];
    };
    const many = () => Array.from({ length: random.below(4) }, declaration);
    const ports = ['80', '53', '53/udp', '8080'].filter(() => random.chance(0.5)).join(' ');
    const row = { env: many().map((pair) => pair.join('=')), labels: Object.fromEntries(many()), ports, gives: '' };
    const found = [...readRegistrator(documentOf(row))].map(
      ({ name, privatePort, protocol }) => `${name}:${privatePort}/${protocol}`,
    );
    assert.deepEqual(found, restated(row), JSON.stringify(row));
  }
});

describe('Beside the other sources', () => {
  const options = {
    serviceVariable: 'DISCOVER',
    namePolicy: 'compat',
    sources: ['variable', 'label', 'registrator'],
  } as const;
  const declared = (row: Omit<Row, 'gives'>) => {
    const { attributes, entries, refusals, rules } = readDeclaration(documentOf({ ...row, gives: '' }), options);
    const names = entries.map(({ name, privatePort, protocol }) => `${name}:${privatePort}/${protocol}`);
    return {
      names,
      codes: refusals.map(({ code }) => code),
      attributes: Object.fromEntries(attributes),
      rules: Object.fromEntries(rules),
    };
  };

  test('a port that is advertised is not registered a second time', () => {
    assert.deepEqual(declared({ env: ['DISCOVER=web:80'], ports: '80 81' }).names, ['web:80/tcp', 'nginx-81:81/tcp']);
  });

  test('the rule that made a name is told, and attributes go with their port', () => {
    const found = declared({ env: ['SERVICE_80_TAGS=a', 'SERVICE_81_NAME=api', 'SERVICE_WEIGHT=7'], ports: '80 81' });
    assert.deepEqual(found.rules, {
      'nginx-80:80/tcp': 'the name of the image, and -80 because it has 2 published ports',
      'api:81/tcp': 'SERVICE_81_NAME',
    });
    assert.deepEqual(found.attributes, {
      'nginx-80:80/tcp': { weight: 7, tags: ['a'] },
      'api:81/tcp': { weight: 7 },
    });
  });

  test('a name that the policy refuses is refused, and discover.enable=false keeps all of it out', () => {
    assert.deepEqual(declared({ image: 'a b', ports: '80' }).codes, ['name-invalid']);
    assert.deepEqual(declared({ labels: { 'discover.enable': 'false' }, ports: '80' }).codes, ['disabled']);
    const off = readDeclaration(documentOf({ ports: '80', gives: '' }), { ...options, sources: ['variable', 'label'] });
    assert.deepEqual(off.entries, []);
  });

  test('a document of another shape gives nothing', () => {
    for (const document of [null, 7, {}, { Config: null }, { Config: { Env: [7], Labels: [], ExposedPorts: 3 } }]) {
      assert.deepEqual([...readRegistrator(document)], []);
    }
  });

  test('of every port there is, with a thousand variables, no more is made than is taken', () => {
    const Env = Array.from({ length: 1_000 }, (_, number) => `SERVICE_${number + 1}_V${number}=a`);
    const ExposedPorts = Object.fromEntries(Array.from({ length: 65_535 }, (_, port) => [`${port + 1}/tcp`, {}]));
    const document = {
      Config: { Env, ExposedPorts, Image: 'x' },
      HostConfig: { NetworkMode: 'host' },
      NetworkSettings: { Ports: {} },
    };
    const { entries, refusals } = readDeclaration(document, options);
    assert.deepEqual([entries.length, refusals.map(({ code }) => code)], [100, ['too-many']]);
    // One port after the other, as they are asked for: all of them at once held a pool thread for half a minute.
    const ports = readRegistrator(document);
    assert.equal(ports.next().value?.name, 'x-1');
    assert.equal(ports.next().value?.attributes()[0]?.name, 'v1');
    const [ignored] = readRegistrator({
      ...document,
      Config: { ...document.Config, Env: ['SERVICE_1-65535_IGNORE=1'] },
    });
    assert.equal(ignored, undefined);
  });
});
