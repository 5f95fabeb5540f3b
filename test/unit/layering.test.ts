/**
 * The rooms of `src` and what each may import. `mayImport` below is the rule, and the one place where it is written:
 * `.github/ARCHITECTURE.md` holds it as a diagram and as a table, printed from here. After a change of the rule:
 *
 *     UPDATE=1 node --import ./test/loader.mjs --test test/unit/layering.test.ts
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('../../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => /\.tsx?$/.test(file));

/** What a file imports: paths below `src` for its own, names for packages. */
const importsOf = new Map(
  files.map((file) => {
    const text = readFileSync(join(src, file), 'utf8');
    const specifiers = [...text.matchAll(/(?:from |import\(|createRequire\(import\.meta\.url\)\()'([^']+)'/g)].map(
      (m) => m[1] ?? '',
    );
    const isOwn = (specifier: string) => specifier.startsWith('.');
    const own = specifiers.filter(isOwn).map((specifier) => relative(src, join(src, dirname(file), specifier)));
    const packages = specifiers.filter((specifier) => !isOwn(specifier) && !specifier.startsWith('node:'));
    return [file, { own, packages: packages.map((name) => name.split('/', 1)[0] ?? '') }] as const;
  }),
);

/** The ground: what every room of the agent may use. */
const ground = ['errors.ts', 'exit-codes.ts', 'health.ts', 'log.ts', 'metrics.ts', 'version.ts', 'actor'];
/** A room, and what it may import beside itself; in the order of the data. */
const mayImport: Record<string, readonly string[]> = {
  'errors.ts': [],
  'exit-codes.ts': ['errors.ts'],
  'version.ts': [],
  'nearest.ts': [],
  'health.ts': [],
  'metrics.ts': ['container', 'health.ts'],
  'log.ts': ['errors.ts'],
  'host-address.ts': ['errors.ts', 'container'],
  'host.ts': ['errors.ts', 'host-address.ts'],
  'processes.ts': [],
  actor: ['errors.ts', 'log.ts'],
  // Protocols: they know neither Docker nor etcd.
  net: ['errors.ts'],
  // Pure: what a document says, and where it can be reached.
  container: ['nearest.ts'],
  lifecycle: ['container'],
  layout: ['errors.ts', 'container'],
  docker: [...ground, 'net', 'container', 'lifecycle'],
  inspect: [...ground, 'host-address.ts', 'processes.ts', 'docker', 'container', 'lifecycle'],
  reconcile: [...ground, 'container', 'lifecycle', 'layout'],
  etcd: [...ground, 'net', 'layout'],
  registry: [...ground, 'processes.ts', 'container', 'etcd', 'layout', 'reconcile'],
  // For other programs: it must not bring the agent along.
  client: ['errors.ts', 'etcd', 'layout'],
  config: [
    'errors.ts',
    'nearest.ts',
    'host.ts',
    'host-address.ts',
    'net',
    'etcd',
    'docker',
    'container',
    'lifecycle',
    'layout',
  ],
  // One file per command; what they need of the rooms they import as they run.
  commands: [
    ...ground,
    ...[
      'nearest.ts',
      'host.ts',
      'host-address.ts',
      'config',
      'docker',
      'container',
      'inspect',
      'lifecycle',
      'layout',
      'etcd',
      'registry',
      'client',
      'reap',
      'migrate',
      'why',
    ],
  ],
  migrate: ['errors.ts', 'container', 'etcd', 'layout'],
  why: ['container', 'inspect', 'lifecycle', 'layout', 'etcd', 'registry'],
  reap: [...ground, 'config', 'etcd', 'layout', 'registry'],
  http: [
    ...ground,
    'agent.ts',
    'client',
    'config',
    'container',
    'lifecycle',
    'etcd',
    'layout',
    'registry',
    'reconcile',
    'why',
  ],
  // A program for browsers: of the agent it knows shapes, and no line of its code.
  page: ['http', 'container'],
  // Services by name, from what the agent follows for its other readers.
  dns: ['errors.ts', 'client', 'config', 'layout'],
  daemon: [...ground, 'agent.ts', 'config', 'dns', 'http', 'inspect', 'registry'],
  // Composition: the agent, and the two ways in.
  'parts.ts': [
    ...ground,
    ...['processes.ts', 'config', 'container', 'docker', 'inspect', 'layout', 'reconcile', 'etcd', 'registry'],
  ],
  'agent.ts': [
    ...ground,
    ...[
      'host-address.ts',
      'parts.ts',
      'config',
      'container',
      'docker',
      'inspect',
      'lifecycle',
      'reconcile',
      'layout',
      'etcd',
      'registry',
    ],
  ],
  'index.ts': [...ground, 'agent.ts', 'config', 'daemon'],
  'cli.ts': [...ground, 'commands', 'config', 'daemon'],
  'start.ts': ['cli.ts'],
};

test('imports run one way: a room imports only what mayImport allows', () => {
  const wrong: string[] = [];
  for (const [file, { own }] of importsOf) {
    const room = file.split('/', 1)[0] ?? '';
    const allowed = mayImport[room];
    assert.ok(allowed !== undefined, `${file} is in a room that mayImport does not have`);
    for (const target of own) {
      const other = target.split('/', 1)[0] ?? '';
      if (other !== room && !allowed.includes(other)) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

/** What the ground may import: everything that one of its parts may. */
const groundMayImport = new Set(
  ground.flatMap((room) => mayImport[room] ?? []).filter((room) => !ground.includes(room)),
);

/** The rooms with what each may import, the ground as one. */
function groundAsOne(): Map<string, Set<string>> {
  const rooms = new Map([['ground', groundMayImport]]);
  for (const [room, allowed] of Object.entries(mayImport)) {
    if (ground.includes(room)) continue;
    rooms.set(room, new Set(allowed.map((other) => (ground.includes(other) ? 'ground' : other))));
  }
  return rooms;
}

/** An arrow for each import that may be, except where other arrows lead there as well: the order of the rooms. */
function diagram(): string {
  const rooms = groundAsOne();
  const reaches = (from: string, to: string): boolean =>
    [...(rooms.get(from) ?? [])].some((next) => next === to || reaches(next, to));
  const nameOf = (room: string): string => room.replace('.ts', '');
  const lines = [...rooms].flatMap(([room, allowed]) => {
    const direct = [...allowed].filter((to) => ![...allowed].some((next) => next !== to && reaches(next, to)));
    return direct.sort().map((to) => `  ${nameOf(room)} --> ${nameOf(to)}`);
  });
  const nodes = [...rooms.keys()].map(
    (room) => `  ${nameOf(room)}["${room === 'ground' ? ground.join('<br>') : room}"]`,
  );
  return ['```mermaid', 'flowchart TD', ...nodes, ...lines, '```'].join('\n');
}

function table(): string {
  const rows = Object.entries(mayImport).map(([room, allowed]) => {
    const hasGround = ground.every((one) => one === room || allowed.includes(one));
    const named = hasGround && !ground.includes(room) ? allowed.filter((one) => !ground.includes(one)) : allowed;
    const list = [...(named === allowed ? [] : ['the ground']), ...named.map((one) => `\`${one}\``)];
    return `| \`${room}\` | ${list.join(', ') || 'nothing of ours'} |`;
  });
  return ['| room | may import |', '|---|---|', ...rows].join('\n');
}

test('.github/ARCHITECTURE.md has the diagram and the table of imports as they are', () => {
  const page = fileURLToPath(new URL('../../.github/ARCHITECTURE.md', import.meta.url));
  const text = readFileSync(page, 'utf8');
  const printed = `<!-- imports:begin -->\n${diagram()}\n\n${table()}\n<!-- imports:end -->`;
  const updated = text.replace(/<!-- imports:begin -->.*<!-- imports:end -->/s, () => printed);
  if (process.env.UPDATE) writeFileSync(page, updated);
  assert.ok(
    text.includes(printed) || process.env.UPDATE,
    'run: UPDATE=1 node --import ./test/loader.mjs --test test/unit/layering.test.ts',
  );
});

test('no import leads back to where it came from', () => {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `circle: ${[...path, file].join(' -> ')}`);
    if (done.has(file)) return;
    for (const target of importsOf.get(file)?.own ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test('each package is imported by one file', () => {
  const importers = new Map<string, Set<string>>();
  for (const [file, { packages }] of importsOf) {
    for (const name of packages) importers.set(name, (importers.get(name) ?? new Set()).add(file));
  }
  // Two for grpc-js: a resolver and a policy of load balancing.
  // Three for zod: the table of options, where a value is checked against it, and what the reaper reads.
  const expected = {
    '@aws-sdk': ['reap/ec2.ts'],
    '@grpc': ['client/grpc-balancer.ts', 'client/grpc.ts'],
    'docker-modem': ['docker/modem.ts'],
    'dns-packet': ['dns/packet.ts'],
    dockerode: ['docker/docker.ts'],
    etcd3: ['etcd/member.ts'],
    mnemonist: ['actor/mailbox.ts'],
    pino: ['log.ts'],
    'pino-pretty': ['log.ts'],
    'prom-client': ['http/prometheus.ts'],
    piscina: ['inspect/pool.ts'],
    yargs: ['commands/grammar.ts'],
  };
  for (const [name, where] of Object.entries(expected)) {
    assert.deepEqual([...(importers.get(name) ?? [])].sort(), where, name);
  }
  const others = [...importers.keys()].filter((name) => !(name in expected)).sort();
  assert.deepEqual(others, ['preact', 'zod']);
  for (const file of importers.get('preact') ?? []) assert.match(file, /^page\//);
});

test('the page takes types and one table of texts from the agent, and makes no markup of a string', () => {
  for (const file of files.filter((name) => name.startsWith('page/'))) {
    const text = readFileSync(join(src, file), 'utf8');
    const beyond = [...text.matchAll(/^import (.*) from '\.\.\/(.*)';/gm)].map(([, what, from]) => [what, from]);
    for (const [what, from] of beyond) {
      // Pure data, so that a reason has one text everywhere.
      if (from === 'container/refusals.ts') continue;
      assert.match(what ?? '', /^type /, `${file} imports ${from}`);
      assert.ok(['http/shapes.ts', 'container/container.ts'].includes(from ?? ''), `${file} imports ${from}`);
    }
    assert.doesNotMatch(
      text,
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerously|\beval\b|Function\(/i,
      file,
    );
  }
});

/** What a file imports at once, as opposed to when it comes to it, and whatever that imports. */
function loadedBy(file: string, found = new Set<string>()): Set<string> {
  const text = readFileSync(join(src, file), 'utf8');
  for (const [, specifier = ''] of text.matchAll(/^(?:import|export) (?!type )[^;]*?'(\.[^']+)';/gms)) {
    const target = relative(src, join(src, dirname(file), specifier));
    if (!found.has(target)) loadedBy(target, found.add(target));
  }
  return found;
}

test('to start the agent no command is loaded, nor what may never be needed', () => {
  const loaded = loadedBy('cli.ts');
  assert.ok(loaded.has('commands/table.ts') && loaded.has('config/options.ts'));
  assert.deepEqual(
    [...loaded].filter((file) => file.startsWith('commands/')).sort(),
    ['arguments', 'command-line', 'grammar', 'reading', 'table'].map((name) => `commands/${name}.ts`),
  );
  for (const file of ['commands/help.ts', 'daemon/service-manager.ts', 'daemon/hand-over.ts', 'http/endpoint.ts']) {
    assert.ok(!loaded.has(file), file);
  }
});

test('to name a command, or to print help, the clients of Docker and etcd are not loaded', () => {
  const commands = files.filter((file) => file.startsWith('commands/') && file !== 'commands/table.ts');
  for (const file of commands) {
    const loaded = loadedBy(file);
    for (const client of ['docker/docker.ts', 'etcd/cluster.ts', 'agent.ts']) {
      assert.ok(!loaded.has(client), `${file} loads ${client} before it runs`);
    }
  }
});
