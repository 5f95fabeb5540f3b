/** What a reader knows, against a naive model, however changes and readings of everything interleave. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Catalogue, differenceOf, type Selector } from '../../src/client/catalogue.ts';
import { type Instance, parseInstance } from '../../src/layout/instance.ts';
import { servicePrefixOf } from '../../src/layout/keys.ts';

const below = servicePrefixOf('/discover');
const names = ['web', 'db', '__proto__'];
const realms = ['prod', 'test'];
const selectors: readonly Selector[] = [{}, { realm: 'prod' }, { protocol: 'udp' }, { realm: 'test', protocol: 'tcp' }];

const key = fc
  .tuple(
    fc.constantFrom(...names),
    fc.constantFrom(...realms),
    fc.constantFrom('aaaaaaaaaaaa', 'aaaaaaaaaaaa:80', 'odd'),
  )
  .map((segments) => `${below}${segments[0]}/${segments[1]}/h1/${segments[2]}`);
const metaKey = key.map((one) => one.replace('/service/', '/meta/'));
const meta = fc.constantFrom('{"weight":1}', '{"weight":2}', 'nonsense');
const value = fc.constantFrom('tcp://10.0.0.1:80', 'udp://10.0.0.1:80', 'tcp://10.0.0.2:80', 'nonsense');
const change = fc.oneof(
  fc.record({ key, value: fc.option(value, { nil: undefined }) }),
  fc.record({ key: metaKey, value: fc.option(meta, { nil: undefined }) }),
);
const step = fc.oneof(
  fc.record({ kind: fc.constant('changes' as const), changes: fc.array(change, { maxLength: 4 }) }),
  fc.record({
    kind: fc.constant('reading' as const),
    found: fc.tuple(fc.dictionary(metaKey, meta, { maxKeys: 8 }), fc.dictionary(key, value, { maxKeys: 8 })),
  }),
);

test('Catalogue holds what a naive model holds, and its differences lead from one set to the next', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const catalogue = new Catalogue('/discover');
      let model = new Map<string, string>();
      const setsOf = () => names.flatMap((name) => selectors.map((selector) => catalogue.select(name, selector)));
      let before = setsOf();
      for (const one of steps) {
        if (one.kind === 'reading') {
          model = new Map(one.found.flatMap((part) => Object.entries(part)));
          catalogue.begin();
          for (const [key, value] of model) catalogue.add([{ key, value }]);
          catalogue.adopt();
        } else {
          catalogue.apply(one.changes);
          for (const { key, value } of one.changes) {
            if (value === undefined) model.delete(key);
            else model.set(key, value);
          }
        }
        const services = [...model].filter(([key]) => key.startsWith(below));
        const metaOf = (key: string) => model.get(key.replace('/service/', '/meta/'));
        const instances = services.map(([key, value]) => parseInstance(below, key, value, metaOf(key)));
        const known = instances.filter((instance) => instance !== undefined);
        assert.equal(catalogue.skipped, instances.length - known.length);
        const wanted = names.flatMap((name) =>
          selectors.map(({ realm, protocol }) =>
            known.filter(
              (one) =>
                one.name === name &&
                (realm === undefined || one.realm === realm) &&
                (protocol === undefined || one.protocol === protocol),
            ),
          ),
        );
        const now = setsOf();
        assert.deepEqual(now.map(sorted), wanted.map(sorted));
        for (const [index, set] of now.entries()) assertLeads(before[index] ?? [], set);
        before = now;
      }
    }),
  );
});

const sorted = (set: readonly Instance[]): Instance[] => [...set].sort((a, b) => (a.key < b.key ? -1 : 1));

function assertLeads(before: readonly Instance[], now: readonly Instance[]): void {
  const { added, removed, changed } = differenceOf(before, now);
  const state = new Map(before.map((instance) => [instance.key, instance]));
  for (const { key } of removed) assert.ok(state.delete(key), 'Removed, but was not there');
  for (const instance of added) assert.ok(!state.has(instance.key) && state.set(instance.key, instance), 'Added twice');
  for (const instance of changed) {
    assert.notDeepEqual(state.get(instance.key) ?? instance, instance);
    state.set(instance.key, instance);
  }
  assert.deepEqual(sorted([...state.values()]), sorted(now));
}
