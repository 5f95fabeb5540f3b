/**
 * The advertisement: every row of the fixture against the original and ours, then the names of
 * each policy and the limits, which the original did not have.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { urlOf } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { type NamePolicy, parseAdvertisement } from '../../src/container/sources/advertisement.ts';
import { variableTexts } from '../../src/container/sources/variable.ts';
import { publishedByOriginal, ROWS, type Row } from '../fixtures/advertisements.ts';

function parse(value: string, namePolicy: NamePolicy = 'compat') {
  return parseAdvertisement([value], { namePolicy });
}

function namesOf(value: string, namePolicy: NamePolicy): string[] {
  return parse(value, namePolicy).entries.map((entry) => entry.name);
}

function codesOf(value: string, namePolicy: NamePolicy = 'compat'): string[] {
  return parse(value, namePolicy).refusals.map((refusal) => refusal.code);
}

function inspect(row: Row) {
  const document = {
    State: { Running: true, StartedAt: '2026-01-01T00:00:00Z' },
    Config: { Env: row.env },
    HostConfig: { NetworkMode: row.networkMode },
    NetworkSettings: { Ports: row.ports },
  };
  const inspection = readInspection(document, {
    hostIp: row.hostIp,
    serviceVariable: 'DISCOVER',
    namePolicy: 'compat',
  });
  assert.equal(inspection.kind, 'running');
  return inspection;
}

/** In ASCII: a test name goes to a terminal, and some rows are made to upset one. */
function titleOf(row: Row): string {
  const title = JSON.stringify(row.env.filter((variable) => variable.includes('DISCOVER')));
  const escaped = title.replaceAll(/[^ -~]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return escaped.length > 90 ? `${escaped.slice(0, 90)}... (${title.length})` : escaped;
}

/** What nobody has a reason to publish differently: plain, distinct names, open to all on IPv4. */
function isSound(row: Row): boolean {
  const parts = row.env.flatMap((variable) =>
    variable.startsWith('DISCOVER=')
      ? variable
          .slice(9)
          .split(',')
          .map((part) => part.trim())
      : [],
  );
  const offers = new Set(parts.filter((part) => part !== ''));
  const names = [...offers].map((part) => part.split(':')[0] ?? '');
  const bindings = Object.values(row.ports).filter((listed) => listed !== null);
  return (
    names.every((name) => /^[A-Za-z0-9._~-]{1,128}$/.test(name) && name !== '.' && name !== '..') &&
    new Set(names).size === names.length &&
    names.length <= 100 &&
    row.env.join().length <= 16 * 1024 &&
    row.hostIp.includes('.') &&
    row.networkMode !== 'host' &&
    bindings.every(
      (listed) =>
        listed.filter(({ HostIp }) => HostIp === '0.0.0.0').length === 1 &&
        listed.some(({ HostIp, HostPort }) => HostIp === '0.0.0.0' && HostPort !== '0'),
    )
  );
}

describe('DISCOVER strings', () => {
  test('the table has at least 70 rows, and 30 of them are sound', () => {
    assert.ok(ROWS.length >= 70, `${ROWS.length} rows`);
    const sound = ROWS.filter(isSound).length;
    assert.ok(sound >= 30, `${sound} sound rows`);
  });

  for (const [index, row] of ROWS.entries()) {
    test(`row ${index} is published by the original and by us as the table says: ${titleOf(row)}`, () => {
      assert.deepEqual(publishedByOriginal(row.env, row.ports, row.hostIp), row.original, 'original');
      const inspection = inspect(row);
      assert.deepEqual(
        inspection.services.map((service) => [service.name, urlOf(service)]),
        row.ours,
        'ours',
      );
      assert.deepEqual(
        inspection.refusals.map(({ code }) => code),
        row.refused,
        'refused',
      );
    });
  }

  test('a row whose columns differ says why, and no other row does', () => {
    for (const row of ROWS) {
      const equal = JSON.stringify(row.original) === JSON.stringify(row.ours);
      assert.equal(row.why === undefined, equal, titleOf(row));
    }
  });

  test('what the original published soundly is published the same', () => {
    for (const row of ROWS.filter(isSound)) assert.deepEqual(row.ours, row.original, titleOf(row));
  });
});

describe('parseAdvertisement', () => {
  test('an entry has the name, the port of the container and the protocol', () => {
    assert.deepEqual(parse('web:80,dns:53/UDP').entries, [
      { name: 'web', privatePort: 80, protocol: 'tcp' },
      { name: 'dns', privatePort: 53, protocol: 'udp' },
    ]);
  });

  test('the variable is found by its literal name, whatever characters it has', () => {
    assert.deepEqual(variableTexts(['AxB*(=no:1', 'A.B*(=yes:1', 'DISCOVER=no:1'], 'A.B*('), ['yes:1']);
  });

  test('a refusal names what is accepted and shows 64 characters of the entry', () => {
    const { refusals } = parse(`${'x'.repeat(200)}:80`);
    assert.equal(refusals.length, 1);
    assert.equal(refusals[0]?.entry, 'x'.repeat(64));
    assert.match(refusals[0]?.detail ?? '', /1 to 128 of A-Z a-z 0-9/);
  });

  test('a refusal shows nothing that would steer the terminal of whoever reads it', () => {
    const entry = 'a\u001b[2J\u009b1m\u202eb\u200bc\ufeff\ud800\u{e0041}é🚀';
    assert.equal(parse(entry).refusals[0]?.entry, 'a\ufffd[2J\ufffd1m\ufffdb\ufffdc\ufffd\ufffd\ufffdé🚀');
    assert.equal(parse('a\nb\u2028').refusals[0]?.entry, 'a\ufffdb\ufffd');
  });

  test('the name is judged before the port and the port before the protocol', () => {
    assert.deepEqual(codesOf('a b:0/x,web:0/x,web:1/x'), ['name-invalid', 'port-invalid', 'protocol-invalid']);
  });
});

describe('name policies', () => {
  test('strict takes RFC 1123 labels and nothing else', () => {
    const good = ['a', '0', 'web', 'web-1', 'a--b', 'a'.repeat(63)];
    const bad = ['Web', 'we.b', 'we_b', '-web', 'web-', 'a'.repeat(64), '.', '..', 'a/b', 'é', '%'];
    assert.deepEqual(namesOf([...good, ...bad].map((name) => `${name}:80`).join(), 'strict'), good);
    assert.deepEqual(
      codesOf(bad.map((name) => `${name}:80`).join(), 'strict'),
      bad.map(() => 'name-invalid'),
    );
  });

  test('encode leaves plain names alone and writes every other byte as %XX', () => {
    assert.deepEqual(namesOf("web.v1_2~-:1,a b:1,a/b:1,%2F:1,é:1,🚀:1,!*'():1,a\u001bb:1,\u202e:1", 'encode'), [
      'web.v1_2~-',
      'a%20b',
      'a%2Fb',
      '%252F',
      '%C3%A9',
      '%F0%9F%9A%80',
      '%21%2A%27%28%29',
      'a%1Bb',
      '%E2%80%AE',
    ]);
  });

  test('encode refuses dots, names over 128 bytes and text that has no UTF-8', () => {
    assert.deepEqual(namesOf(`.:1,..:1,:1,${'é'.repeat(64)}x:1,\ud800:1,a\udfff:1`, 'encode'), []);
    assert.deepEqual(namesOf(`${'é'.repeat(64)}:1`, 'encode'), ['%C3%A9'.repeat(64)]);
  });

  test('raw takes spaces, unicode and up to 255 bytes', () => {
    const good = ['my web', 'web ', 'café', '🚀', 'a%2Fb', 'é'.repeat(127), '...'];
    assert.deepEqual(namesOf(good.map((name) => `${name}:80`).join(), 'raw'), good);
  });

  test('raw refuses slashes, controls, bidi controls, dots, lone surrogates and names over 255 bytes', () => {
    const controls = ['\0', '\t', '\u001b', '\u007f', '\u0085', '\u009f'];
    const bidi = ['\u061c', '\u200e', '\u200f', '\u202a', '\u202e', '\u2066', '\u2069'];
    const bad = ['/', ...controls, ...bidi, '\ud800'].map((mark) => `a${mark}b`);
    for (const name of [...bad, '.', '..', '', 'é'.repeat(128)]) {
      assert.deepEqual(codesOf(`${name}:80`, 'raw'), ['name-invalid'], JSON.stringify(name));
    }
  });
});

describe('limits', () => {
  const KIB_16 = 16 * 1024;
  const entry = (index: number) => `s${index}:80`;
  const entriesFrom = (first: number, count: number) =>
    Array.from({ length: count }, (_, i) => entry(first + i)).join();

  test('of 137 valid entries the first 100 are taken, and one refusal has both numbers', () => {
    const { entries, refusals } = parse(entriesFrom(0, 137));
    assert.deepEqual(
      entries.map((taken) => taken.name),
      Array.from({ length: 100 }, (_, index) => `s${index}`),
    );
    assert.deepEqual(refusals, [
      { code: 'too-many', entry: 's100:80', detail: 'The first 100 of 137 entries are taken' },
    ]);
  });

  test('bad entries and repeated ones do not count towards the 100', () => {
    const value = `bad name:80,${entriesFrom(0, 50)},${entriesFrom(0, 50)},${entriesFrom(50, 50)}`;
    assert.equal(parse(value).entries.length, 100);
    assert.deepEqual(codesOf(value), ['name-invalid']);
  });

  test('16 KiB to the byte are read without a refusal, and a byte more cuts the last entry', () => {
    const fits = `web:80,${' '.repeat(KIB_16 - 14)},api:80`.slice(0, KIB_16);
    assert.equal(fits.length, KIB_16);
    assert.deepEqual(namesOf(fits, 'compat'), ['web', 'api']);
    assert.deepEqual(codesOf(fits), []);
    assert.deepEqual(namesOf(`${fits}8`, 'compat'), ['web']);
    assert.deepEqual(parse(`${fits}8`).refusals, [
      { code: 'too-long', entry: 'api:808', detail: 'Only the first 16384 bytes are read, to the last whole entry' },
    ]);
  });

  test('an entry that ends exactly where reading ends is whole', () => {
    const fits = `web:80,${' '.repeat(KIB_16 - 14)},api:80`;
    assert.deepEqual(namesOf(`${fits},more:80`, 'compat'), ['web', 'api']);
    assert.deepEqual(codesOf(`${fits},more:80`), ['too-long']);
  });

  test('the 16 KiB are bytes of UTF-8 and shared by all occurrences of the variable', () => {
    const options = { namePolicy: 'raw' } as const;
    const half = `${' '.repeat(KIB_16 / 2 - 8)},web:80,`;
    const wide = `api:80,${'é'.repeat(KIB_16 / 4)}`;
    const env = [`DISCOVER=${half}`, 'OTHER=x', `DISCOVER=${wide},late:80`, 'DISCOVER=later:80'];
    const { entries, refusals } = parseAdvertisement(variableTexts(env, 'DISCOVER'), options);
    assert.deepEqual(
      entries.map((taken) => taken.name),
      ['web', 'api'],
    );
    assert.deepEqual(
      refusals.map((refusal) => refusal.code),
      ['too-long'],
    );
  });

  test('4 MiB give the entries of their first 16 KiB, and nothing behind them is looked at', () => {
    const pattern = `web:80,${entriesFrom(0, 40)},`;
    const head = pattern.repeat(Math.ceil(KIB_16 / pattern.length)).slice(0, KIB_16);
    const whole = parse(head + 'late:80\n,'.repeat(4 * 1024 * 64));
    assert.deepEqual(whole.entries, parse(head.slice(0, head.lastIndexOf(','))).entries);
    assert.deepEqual(
      whole.refusals.map((refusal) => refusal.code),
      ['too-long'],
    );
  });

  test('one endless entry gives no entry and one refusal', () => {
    assert.deepEqual(parse('x'.repeat(4 * 1024 * 1024)), {
      entries: [],
      refusals: [
        {
          code: 'too-long',
          entry: 'x'.repeat(64),
          detail: 'Only the first 16384 bytes are read, to the last whole entry',
        },
      ],
    });
  });

  test('of 18,000 bad entries 20 are listed, and the rest of what was read is counted', () => {
    const { entries, refusals } = parse('x,'.repeat(18_000));
    assert.equal(entries.length, 0);
    assert.equal(refusals.length, 22);
    assert.ok(refusals.slice(0, 20).every((refusal) => refusal.code === 'port-invalid'));
    assert.deepEqual(refusals[20], { code: 'too-many', entry: '', detail: '8172 more refusals are not listed' });
    assert.equal(refusals[21]?.code, 'too-long');
  });
});
