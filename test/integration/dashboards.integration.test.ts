/** What is shipped for Prometheus and Grafana names only what discover tells, from its first moment on. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { forkEngine } from '../../bench/engine/client.ts';
import { freePort, fromEngine, startHost } from '../helpers/host.ts';
import { needs, requireCommand } from '../helpers/run.ts';

const file = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const rules = file('deploy/prometheus-rules.yaml');

/** Resolves to what it printed; rejects where it finds a fault. */
function promtool(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(requireCommand('promtool'), args, (error, stdout, stderr) => {
      if (error) reject(new Error(`promtool ${args.join(' ')}: ${stdout}${stderr}`));
      else resolve(stdout + stderr);
    });
    child.stdin?.end(input);
  });
}

/** Every expression of PromQL that the two files hold. */
function expressions(): string[] {
  const { panels } = JSON.parse(readFileSync(file('deploy/grafana-dashboard.json'), 'utf8')) as {
    panels: { targets?: { expr: string }[] }[];
  };
  const ofPanels = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  const text = readFileSync(rules, 'utf8');
  const ofRules = [...text.matchAll(/^ {8}expr: (>-\n(?: {10}.*\n)+|.*\n)/gm)].map(([, expression = '']) => expression);
  return [...ofPanels, ...ofRules];
}

interface Selector {
  readonly name: string;
  /** Label to the values that it is compared with. */
  readonly labels: ReadonlyMap<string, string>;
}

/** What an expression asks for of discover and of its process. */
function selectorsOf(expression: string): Selector[] {
  const found = expression.matchAll(/(?<![\w:])((?:discover|process|nodejs)_\w+)(?:\{([^}]*)\})?/g);
  return [...found].map(([, name = '', matchers = '']) => ({
    name,
    labels: new Map([...matchers.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value])),
  }));
}

/** The labels that an expression groups by. */
function groupsOf(expression: string): string[] {
  return [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels = '']) => labels.split(/,\s*/));
}

describe('dashboard and rules', { skip: needs('etcd', 'etcdctl', 'promtool') }, () => {
  test('promtool takes the rules, and each alert fires for its own reason alone', async () => {
    assert.match(await promtool(['check', 'rules', rules]), /SUCCESS: 18 rules found/);
    assert.match(await promtool(['test', 'rules', file('test/fixtures/prometheus-rules.test.yaml')]), /SUCCESS/);
    const alerts = [...readFileSync(rules, 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name = '']) => name);
    const tried = readFileSync(file('test/fixtures/prometheus-rules.test.yaml'), 'utf8');
    for (const alert of alerts) {
      assert.ok(tried.includes(`alertname: ${alert},`) && tried.includes(`alertname="${alert}"`), alert);
    }
  });

  test('all that they name is in /metrics from the start, which promtool takes (simulated engine, real etcd)', async () => {
    const port = await freePort();
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startHost({ source: fromEngine(engine), args: ['--http:listen', String(port)] });
    await host.converged();
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    // What prom-client tells of Node is not ours to name.
    const ours = text.split('\n').filter((line) => /^(# \w+ )?discover_/.test(line));
    assert.equal(await promtool(['check', 'metrics'], `${ours.join('\n')}\n`), '');

    const series = text.split('\n').flatMap((line) => {
      const [, name, labels = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? [];
      const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(
        ([, label = '', value = '']) => [label, value] as const,
      );
      return name === undefined ? [] : [{ name, labels: new Map(pairs) }];
    });
    const all = expressions();
    assert.ok(all.length > 40, `Only ${all.length} expressions found`);
    let seen = 0;
    for (const expression of all) {
      for (const { name, labels } of selectorsOf(expression)) {
        const fits = (one: { name: string; labels: ReadonlyMap<string, string> }) =>
          one.name === name && [...labels].every(([label, value]) => (one.labels.get(label) ?? '') === value);
        assert.ok(series.some(fits), `No such series: ${name} ${JSON.stringify([...labels])} in ${expression}`);
        seen++;
      }
      for (const group of groupsOf(expression).filter((label) => !['instance', 'job', 'le'].includes(label))) {
        const names = selectorsOf(expression).map(({ name }) => name);
        const has = series.some(({ name, labels }) => names.includes(name) && labels.has(group));
        assert.ok(has, `No label ${group} on ${names.join(', ')}`);
      }
    }
    assert.ok(seen >= 45, `Only ${seen} series named`);
  });
});
