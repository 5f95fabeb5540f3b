/** The client's options: those of the agent, under the same names. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { accessOf, type ClientOptions } from '../../src/client/options.ts';
import type { Options } from '../../src/config/file-options.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-options-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const file = (name: string, content: string): string => {
  writeFileSync(path.join(directory, name), content);
  return path.join(directory, name);
};
const pem = file('ca.pem', rootCertificates[0] as string);
const passwordFile = file('password', 'secret\n');

const same: readonly NonNullable<Options['etcd']>[] = [
  {},
  { endpoints: ['a:1', 'http://b:2'], prefix: 'x/y/', ttl: 5 },
  { host: '::1', port: 1234, prefix: null, tls: { ca: null } },
  { endpoints: ['a:1', 'https://b:2'], tls: { ca: pem } },
  { endpoints: ['https://a:443'], username: 'me', passwordFile },
  { host: 'a', username: 'me', password: 'secret' },
];

test('one object serves the agent and the client', async () => {
  for (const etcd of same) {
    const { config } = await resolveConfig(readSources({ options: { etcd, host: { id: 'h1', ip: '10.0.0.5' } } }));
    const { ttlSeconds, ...rest } = config.etcd;
    assert.deepEqual(accessOf(etcd), rest, `${JSON.stringify(etcd)}, ttl ${ttlSeconds}`);
    // What the agent made of it as well.
    assert.deepEqual(accessOf(config.etcd), rest);
  }
});

test('what cannot be used is refused by name', () => {
  const bad: readonly (readonly [ClientOptions, RegExp])[] = [
    [{ endpoints: ['a:b'] }, /^endpoints must be host:port.*got "a:b"$/],
    [{ endpoints: ['ftp://a:1'] }, /^endpoints /],
    [{ endpoints: ['http://a:1/path'] }, /^endpoints /],
    [{ endpoints: ['http://a:1'], tls: { ca: pem } }, /^endpoints must be host:port, https:\/\/host:port/],
    [{ tls: { ca: '/nonexistent' } }, /^tls\.ca must be a file that can be read/],
    [{ passwordFile: '/nonexistent', username: 'me' }, /^passwordFile must be a file/],
    [{ prefix: '/' }, /^prefix must be a path/],
    [{ prefix: 'a//b' }, /^prefix must be a path/],
  ];
  for (const [options, message] of bad) {
    assert.throws(() => accessOf(options), { name: 'DiscoverError', code: 'CONFIG_INVALID', message });
  }
});
