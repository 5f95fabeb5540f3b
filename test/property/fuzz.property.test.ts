/** A share of `node --import ./test/loader.mjs test/fuzz/main.ts`, and that the fuzzer would find what it looks for. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RefusalCode, Service } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { HOST_IP, USUAL_PORTS } from '../fixtures/advertisements.ts';
import { environmentOf, type Finding, faultOf, shortened } from '../fuzz/advertisements.ts';
import { answerOf, faultOfAnswer, readers } from '../fuzz/documents.ts';
import { faultOfLabels, labelledOf } from '../fuzz/labels.ts';

const options = { hostIp: HOST_IP, serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;

test('50,000 environments are read without a throw or a foreign key, and in plain names as by the original', () => {
  for (let seed = 1; seed <= 50_000; seed++) {
    const found = faultOf(environmentOf(seed));
    assert.equal(
      found,
      undefined,
      `node --import ./test/loader.mjs test/fuzz/main.ts --strings 1 --labels 0 --documents 0 --seed ${seed}\n${found?.detail}`,
    );
  }
});

test('10,000 documents with labels have their own keys in every view, and the outcome of the same without labels', () => {
  for (let seed = 1; seed <= 10_000; seed++) {
    const found = faultOfLabels(labelledOf(seed));
    assert.equal(
      found,
      undefined,
      `node --import ./test/loader.mjs test/fuzz/main.ts --strings 0 --labels 1 --documents 0 --seed ${seed}\n${found?.detail}`,
    );
  }
});

test('the labels reach every reason to refuse one, and often have attributes', () => {
  const reasons = new Set<RefusalCode>();
  let attributed = 0;
  for (let seed = 1; seed <= 5_000; seed++) {
    const inspection = readInspection(labelledOf(seed), { ...options, realms: ['blue'] });
    assert.ok(inspection.kind === 'running');
    if (inspection.services.some(({ attributes }) => attributes !== undefined)) attributed++;
    for (const { code } of inspection.refusals) reasons.add(code);
  }
  const reachable: RefusalCode[] = [
    ...(['label-invalid', 'label-twice', 'realm-not-allowed', 'disabled'] as const),
    ...(['attribute-invalid', 'attribute-stray', 'attribute-too-many'] as const),
  ];
  for (const code of reachable) assert.ok(reasons.has(code), code);
  assert.ok(attributed > 250, `${attributed}`);
});

test('3,000 documents are read without a throw, and to nothing that cannot be', () => {
  for (let seed = 1; seed <= 3_000; seed++) {
    const found = faultOfAnswer(answerOf(seed));
    assert.equal(
      found,
      undefined,
      `node --import ./test/loader.mjs test/fuzz/main.ts --strings 0 --labels 0 --documents 1 --seed ${seed}\n${found?.detail}`,
    );
  }
});

test('the environments reach every reason to refuse, and a quarter of them publish something', () => {
  const reasons = new Set<RefusalCode>();
  let publish = 0;
  for (let seed = 1; seed <= 10_000; seed++) {
    const document = { State: { Running: true }, Config: { Env: environmentOf(seed) } };
    const inspection = readInspection({ ...document, NetworkSettings: { Ports: USUAL_PORTS } }, options);
    assert.ok(inspection.kind === 'running');
    if (inspection.services.length > 0) publish++;
    for (const { code } of inspection.refusals) reasons.add(code);
  }
  const reachable = [
    'name-invalid',
    'port-invalid',
    'protocol-invalid',
    'not-published',
    'multiline',
    'too-long',
    'too-many',
  ];
  assert.deepEqual([...reasons].sort(), reachable.sort());
  assert.ok(publish > 2_500, `${publish}`);
});

test('the documents are running containers, lists and events often enough', () => {
  const found = { running: 0, down: 0, failed: 0, service: 0, listed: 0, malformed: 0, event: 0, unreadable: 0 };
  const count = {
    readInspection: (...read: Parameters<typeof readInspection>) => {
      const inspection = readInspection(...read);
      found[inspection.kind]++;
      if (inspection.kind === 'running' && inspection.services.length > 0) found.service++;
      return inspection;
    },
    readList: (body: Uint8Array) => {
      const result = readers.readList(body);
      if (result.kind !== 'inspected') found[result.kind === 'listed' ? 'listed' : 'malformed']++;
      return result;
    },
    readEvent: (text: string) => {
      const event = readers.readEvent(text);
      if (event !== undefined) found[event.kind === 'unreadable' ? 'unreadable' : 'event']++;
      return event;
    },
  };
  for (let seed = 1; seed <= 2_000; seed++) faultOfAnswer(answerOf(seed), count);
  for (const [kind, times] of Object.entries(found)) assert.ok(times >= 5, `${kind}: ${times}`);
});

describe('the fuzzer finds a reader that', () => {
  /** The services as `change` makes them, with what was advertised. */
  const changing = (change: (services: readonly Service[], env: readonly string[]) => readonly Service[]) =>
    ((document, given) => {
      const inspection = readInspection(document, given);
      const { Env } = (document as { Config: { Env: readonly string[] } }).Config;
      return inspection.kind === 'running' ? { ...inspection, services: change(inspection.services, Env) } : inspection;
    }) satisfies typeof readInspection;
  const first = (services: readonly Service[], more: Partial<Service>) =>
    services.map((service, index) => (index === 0 ? { ...service, ...more } : service));

  const faults: readonly [what: string, kind: Finding['kind'], least: RegExp, read: typeof readInspection][] = [
    [
      'throws at half a character',
      'throw',
      /^(?:DISCOVER=)?[\ud800-\udfff]$/,
      changing((services, env) => {
        for (const variable of env) encodeURIComponent(variable);
        return services;
      }),
    ],
    [
      'lets a slash pass',
      'foreign key',
      /a\/b/,
      changing((services, env) => (env.join().includes('a/b:80') ? first(services, { name: 'a/b' }) : services)),
    ],
    [
      'takes 65536 for a port',
      'nonsense',
      /65536/,
      changing((services, env) => (env.join().includes(':65536') ? first(services, { port: 65_536 }) : services)),
    ],
    [
      'cuts names where they are long',
      'difference',
      /n{101,}/,
      changing((services) => services.map((service) => ({ ...service, name: service.name.slice(0, 100) }))),
    ],
    ['forgets the last of several', 'difference', /,/, changing((services) => services.slice(0, 2))],
  ];
  for (const [what, kind, least, read] of faults) {
    test(`${what}, and names the least that does it`, () => {
      for (let seed = 1; seed <= 20_000; seed++) {
        const found = faultOf(environmentOf(seed), read);
        if (found === undefined) continue;
        assert.equal(found.kind, kind);
        const shortest = shortened(environmentOf(seed), found, read);
        assert.match(shortest.join('\n'), least);
        assert.ok(shortest.length === 1 && shortest.join().length < 160, JSON.stringify(shortest));
        return;
      }
      assert.fail('It found nothing');
    });
  }
});
