/** The documents for users: the program takes what they have people write: commands, configurations, advertisements. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseArguments } from '../../src/commands/arguments.ts';
import { readSources } from '../../src/config/sources.ts';
import { readDeclaration } from '../../src/container/sources/declaration.ts';
import { block, blocksOf, documents, read } from '../helpers/documents.ts';

/** The arguments of each `discover` in a block of code, without what the shell keeps to itself. */
function commandLines(document: string): string[][] {
  const code = read(document)
    .split('\n')
    .flatMap((line) => /^ {4}(?:\$ )?(\S.*)$/.exec(line)?.[1] ?? []);
  const stages = code.flatMap((line) => line.replace(/\s#.*$/, '').split(/\s\|\s/));
  return stages.flatMap((stage) => {
    const [, args] = /^(?:[A-Z_]+=\S+ )*discover(?:\s+([^<>]*))?(?:[<>].*)?$/.exec(stage.trim()) ?? [];
    return /^(?:[A-Z_]+=\S+ )*discover\b/.test(stage.trim()) ? [args?.trim().split(/\s+/) ?? []] : [];
  });
}

test('every command line of discover in the documents is one that the program takes', async () => {
  const lines = documents.flatMap(commandLines);
  assert.ok(lines.length >= 10, `Only ${lines.length} found`);
  for (const argv of lines) await assert.doesNotReject(parseArguments(argv), `discover ${argv.join(' ')}`);
});

test('every configuration in the documents is one that the program takes', () => {
  const blocks = documents.flatMap((document) => blocksOf(read(document)));
  const parts = blocks.flatMap(({ language, lines: [first = '', ...more] }) =>
    language === 'json' ? [[first, ...more].join('\n')] : /^"\w+": \{/.test(first) ? [`{${first}}`] : [],
  );
  assert.ok(parts.length >= 4, `Only ${parts.length} found`);
  for (const text of parts) {
    const { problems, warnings } = readSources({ options: JSON.parse(text) });
    assert.deepEqual([problems, warnings], [[], []], text);
  }
});

test('the labels of the compose file in deploy/engines.md advertise what they say', () => {
  const { services } = parse(block('deploy/engines.md', 'services:')) as {
    readonly services: Readonly<Record<string, { readonly labels: object }>>;
  };
  const says = readDeclaration(
    { Config: { Labels: services.web?.labels } },
    { serviceVariable: 'DISCOVER', namePolicy: 'compat' },
  );
  assert.deepEqual(says.entries, [{ name: 'web', privatePort: 80, protocol: 'tcp' }]);
  assert.deepEqual([says.attributes.get('web'), says.refusals], [{ weight: 10 }, []]);
});

/** What a container says that a block makes: `ENV` of a Dockerfile, or labels of `docker run` and `docker service create`. */
function declared(document: string, start: string) {
  const text = block(document, start);
  const env = [...text.matchAll(/^ENV (\w+) (.*)$/gm)].map(([, name, value]) => `${name}=${value}`);
  const labels = [...text.matchAll(/--(?:container-)?label (\S+?)=(\S+)/g)].map(([, name, value]) => [name, value]);
  const inspected = { Config: { Env: env, Labels: Object.fromEntries(labels) } };
  const { entries, attributes, refusals } = readDeclaration(inspected, {
    serviceVariable: 'DISCOVER',
    namePolicy: 'compat',
  });
  assert.deepEqual(refusals, []);
  return {
    entries: entries.map(({ name, privatePort, protocol }) => `${name}:${privatePort}/${protocol}`),
    attributes,
  };
}

test('what the documents have a container advertise is what discover reads', () => {
  assert.deepEqual(declared('README.md', 'ENV DISCOVER static').entries, ['static-web-server:8080/tcp']);
  assert.deepEqual(declared('README.md', 'ENV DISCOVER web').entries, ['web:8080/tcp', 'stats:8125/udp']);
  assert.deepEqual(declared('README.md', 'docker run -d -p 80 --label').entries, ['web:80/tcp']);
  assert.deepEqual(declared('deploy/engines.md', 'docker service create').entries, ['web:80/tcp']);
  const shop = declared('deploy/monitoring.md', 'docker run -d -p 80');
  assert.deepEqual(shop.entries, ['shop:80/tcp']);
  assert.deepEqual(shop.attributes.get('shop'), { others: { 'metrics-path': '/internal/metrics' } });
});

test('the rule for a socket proxy in SECURITY.md lets through the five paths and nothing else', () => {
  const rule = new RegExp(block('.github/SECURITY.md', '^(/v1'));
  const paths = ['/_ping', '/version', '/events', '/containers/json', `/containers/${'0a'.repeat(32)}/json`];
  for (const one of paths) assert.ok(rule.test(one) && rule.test(`/v1.41${one}`), one);
  for (const other of ['/info', '/containers/web/json', `${paths.at(-1)}/x`, `/containers/${'0a'.repeat(32)}/logs`])
    assert.ok(!rule.test(other), other);
});

test('the scrape configuration of deploy/monitoring.md asks the agent and its targets', () => {
  const { scrape_configs: jobs } = parse(block('deploy/monitoring.md', 'scrape_configs:')) as {
    readonly scrape_configs: readonly {
      readonly static_configs?: readonly { readonly targets: readonly string[] }[];
      readonly http_sd_configs?: readonly { readonly url: string }[];
    }[];
  };
  assert.equal(jobs[0]?.static_configs?.[0]?.targets[0], '127.0.0.1:9320');
  assert.equal(new URL(jobs[1]?.http_sd_configs?.[0]?.url ?? '').pathname, '/sd');
});
