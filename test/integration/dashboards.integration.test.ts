/** What is shipped for Prometheus and Grafana names only what discover tells, from its first moment on. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
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

  test('the dashboard names the hosts that are not well, and counts those that do not answer', async () => {
    const { panels } = JSON.parse(readFileSync(file('deploy/grafana-dashboard.json'), 'utf8')) as {
      panels: { title: string; type: string; targets?: { expr: string }[] }[];
    };
    const of = (title: string) => panels.find((panel) => panel.title === title);
    const table = of('Unhealthy hosts');
    assert.equal(table?.type, 'table');
    // Grouped by nothing, an expression would say that a host is not well, and not which.
    const [first, ...more] = (table?.targets ?? []).map(({ expr }) => expr);
    assert.ok(more.length >= 4, 'A column for each thing that can be wrong');
    for (const expression of [first ?? '', ...more]) {
      assert.doesNotMatch(expression, /^(min|max|sum|avg|count)\s*\(/, expression);
    }
    // `up` is told by Prometheus itself, also of a host that tells nothing. The name of the job is the operator's.
    const down = (of('Hosts down')?.targets ?? [])[0]?.expr ?? '';
    const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-dashboard-'));
    try {
      const tests = path.join(directory, 'tests.json');
      const asked = (expr: string, labels: string, value: number) => ({
        ...{ expr: expr.replaceAll('$instance', '.*'), eval_time: '5m', exp_samples: [{ labels, value }] },
      });
      const input_series = [
        { series: 'up{job="docker-hosts",instance="a"}', values: '1 1 0x10' },
        { series: 'discover_build_info{job="docker-hosts",instance="a"}', values: '1 1 stale' },
        { series: 'up{job="docker-hosts",instance="b"}', values: '1x10' },
        { series: 'discover_build_info{job="docker-hosts",instance="b"}', values: '1x10' },
      ];
      const promql_expr_test = [asked(down, '{}', 1), asked(first ?? '', '{instance="a"}', 1)];
      // JSON is YAML.
      writeFileSync(
        tests,
        JSON.stringify({ rule_files: [], tests: [{ interval: '1m', input_series, promql_expr_test }] }),
      );
      assert.match(await promtool(['test', 'rules', tests]), /SUCCESS/);
    } finally {
      rmSync(directory, { recursive: true });
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
