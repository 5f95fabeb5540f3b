/** Fifty thousand packets of DNS, a million in the full run: see `test/fuzz/dns-packets.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOfPacket, packetOf, resolverOf } from '../fuzz/dns-packets.ts';
import { amount } from '../helpers/share.ts';

test('no packet makes the resolver throw, or has an answer that is too large or cannot be read', () => {
  const resolver = resolverOf();
  for (let seed = 1; seed <= amount(50_000, 1_000_000); seed++) {
    const bytes = packetOf(seed);
    assert.equal(faultOfPacket(resolver, bytes), undefined, `seed ${seed}: ${bytes.toString('hex')}`);
  }
  const { outcomes } = resolver;
  for (const outcome of [
    'answered',
    'empty',
    'nxdomain',
    'truncated',
    'refused',
    'malformed',
    'unsupported',
  ] as const) {
    assert.ok(outcomes[outcome] > 100, `${outcome}: ${outcomes[outcome]}`);
  }
});
