/**
 * Whatever a container or an engine says: no throw, no name outside its policy, and where the
 * original published plain names, the same.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { urlOf } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { type NamePolicy, parseAdvertisement } from '../../src/container/sources/advertisement.ts';
import { variableTexts } from '../../src/container/sources/variable.ts';
import { ALLOWED, HOST_IP, publishedByOriginal, USUAL_PORTS } from '../fixtures/advertisements.ts';

const POLICIES = ['compat', 'strict', 'encode', 'raw'] as const satisfies readonly NamePolicy[];

const token = fc.constantFrom(
  ...['web', 'Api-1', '.', '..', '__proto__', 'a/b', 'é', '🚀', '\ud800', '\u202e', '\u001b', '%', "!*'()"],
  ...[':', ':', ':', ',', ',', '/', '/', ' ', '\t', '\n', '\u2028'],
  ...['80', '443', '53', '080', '0', '65535', '65536', 'tcp', 'UDP', 'sctp', 'gopher'],
);
const mutilated = fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join(''));
const wellFormed = fc.tuple(
  fc.oneof(fc.stringMatching(/^[A-Za-z0-9._~-]{1,12}$/), fc.string({ unit: 'binary', minLength: 1, maxLength: 130 })),
  fc.constantFrom(':80', ':443/tcp', ':53/udp', ':53', ':9/SCTP', ':9000', ':80/tcp/x', ':443:x', ':080', ''),
);
const entries = fc.array(wellFormed, { maxLength: 12 }).map((list) => list.map((parts) => parts.join('')).join());
const variable = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.oneof(mutilated, entries).map((value) => `DISCOVER=${value}`),
);
const environment = fc.array(variable, { maxLength: 6 });

test('no environment makes the parser throw or yields a name outside its policy', () => {
  fc.assert(
    fc.property(environment, fc.constantFrom(...POLICIES), (env, namePolicy) => {
      const parsed = parseAdvertisement(variableTexts(env, 'DISCOVER'), { namePolicy });
      for (const { name, privatePort, protocol } of parsed.entries) {
        assert.ok(ALLOWED[namePolicy](name), JSON.stringify(name));
        assert.ok(name !== '' && name !== '.' && name !== '..' && !name.includes('/'), JSON.stringify(name));
        assert.ok(Number.isInteger(privatePort) && privatePort >= 1 && privatePort <= 65535);
        assert.ok(['tcp', 'udp', 'sctp'].includes(protocol));
      }
      const texts = parsed.entries.map((entry) => JSON.stringify(entry));
      assert.equal(new Set(texts).size, texts.length);
      assert.ok(parsed.refusals.every((refusal) => refusal.entry.length <= 64));
    }),
    { numRuns: 2000 },
  );
});

test('encode gives two different names two different keys', () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 20 })
    .filter((text) => !/[,:\n\r\u2028\u2029]/.test(text));
  fc.assert(
    fc.property(name, (text) => {
      const options = { namePolicy: 'encode' } as const;
      const [entry] = parseAdvertisement([`${text}:80`], options).entries;
      const known = text.trimStart();
      if (known !== '' && known !== '.' && known !== '..') assert.equal(decodeURIComponent(entry?.name ?? ''), known);
    }),
  );
});

test('plain, distinct names are published as by the original', () => {
  const plain = fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9._~-]{1,12}$/), { maxLength: 20 });
  const around = fc.constantFrom('', ' ', '\t', '\u00a0');
  const offer = fc.tuple(around, fc.constantFrom(':80', ':443/TCP', ':53/udp', ':9/sctp', ':9', ':080', ''), around);
  fc.assert(
    fc.property(plain, fc.array(offer, { minLength: 20, maxLength: 20 }), (names, offers) => {
      const kept = names.filter((name) => name !== '.' && name !== '..');
      const parts = kept.map((name, index) => `${offers[index]?.[0]}${name}${offers[index]?.[1]}${offers[index]?.[2]}`);
      const env = [`DISCOVER=${parts.join()}`];
      const document = { State: { Running: true }, Config: { Env: env }, NetworkSettings: { Ports: USUAL_PORTS } };
      const inspection = readInspection(document, {
        hostIp: HOST_IP,
        serviceVariable: 'DISCOVER',
        namePolicy: 'compat',
      });
      assert.ok(inspection.kind === 'running');
      assert.deepEqual(
        inspection.services.map((service) => [service.name, urlOf(service)]),
        publishedByOriginal(env, USUAL_PORTS, HOST_IP),
      );
    }),
    { numRuns: 500 },
  );
});

test('no document makes the reader throw', () => {
  const anything = fc.anything({ maxDepth: 2, withNullPrototype: true });
  const binding = fc.record(
    { HostIp: fc.oneof(fc.ipV4(), fc.ipV6(), anything), HostPort: anything },
    { requiredKeys: [] },
  );
  const document = fc.record(
    {
      State: fc.oneof(
        fc.record({ Running: fc.boolean(), StartedAt: anything }, { requiredKeys: ['Running'] }),
        anything,
      ),
      Config: fc.oneof(fc.record({ Env: fc.oneof(fc.array(fc.oneof(variable, anything)), anything) }), anything),
      HostConfig: anything,
      NetworkSettings: fc.record({
        Ports: fc.oneof(fc.record({ '80/tcp': fc.oneof(fc.array(fc.oneof(binding, anything)), anything) }), anything),
      }),
    },
    { requiredKeys: [] },
  );
  const options = { hostIp: HOST_IP, serviceVariable: 'DISCOVER', namePolicy: 'raw' } as const;
  fc.assert(
    fc.property(fc.oneof(document, anything), (value) => {
      assert.match(readInspection(value, options).kind, /^(?:running|down|failed)$/);
    }),
    { numRuns: 500 },
  );
});
