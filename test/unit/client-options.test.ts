/** The client's options: those of the agent, under the same names. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { accessOf } from '../../src/client/options.ts';
import type { Options } from '../../src/config/file-options.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';
import type { DiscoverError } from '../../src/errors.ts';

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
  const list = 'endpoints must be a list of host:port, http://host:port or https://host:port, got ';
  const bad: readonly (readonly [object, string])[] = [
    [{ endpoints: ['a:b'] }, `${list}["a:b"]`],
    // Not http://db:80.
    [{ endpoints: ['db'] }, `${list}["db"]`],
    [{ endpoints: [] }, `${list}[]`],
    [{ endpoints: 'a:2379,b:2379' }, `${list}"a:2379,b:2379"`],
    [{ endpoints: ['a:65536'] }, `${list}["a:65536"]`],
    [{ endpoints: ['ftp://a:1'] }, list],
    [{ endpoints: ['http://a:1/path'] }, list],
    [{ endpoints: ['http://me:secret@a:1'] }, `${list}***`],
    [{ endpoints: ['http://a:1', 'https://b:2'] }, 'endpoints must be all https:// or, without tls, all http://, got'],
    [{ endpoints: ['http://a:1'], tls: { ca: pem } }, 'endpoints must be all https:// or, without tls, all http://'],
    [{ host: 'a b' }, 'host must be'],
    [{ endpoint: 'a:2379' }, 'endpoint is not an option, there are endpoints, host, '],
    [{ tls: { caFile: pem } }, 'tls.caFile is not an option, there are tls.ca, tls.cert, tls.key'],
    [{ here: { region: 'a' } }, 'here.region is not an option, there are here.host, here.zone'],
    [{ here: { zone: '' } }, 'here.zone must be a text that is not empty'],
    [{ here: { host: 3 } }, 'here.host must be a text that is not empty'],
    [{ tls: { ca: '/nonexistent' } }, 'tls.ca must be a file that can be read'],
    [{ tls: { ca: passwordFile } }, 'tls.ca must be a PEM file that holds a certificate'],
    [{ tls: { cert: pem } }, 'tls.cert and tls.key must be set together'],
    [{ username: 'me' }, 'username must be set together with passwordFile or password'],
    [{ password: 'secret' }, 'username must be set together with passwordFile or password'],
    [{ passwordFile: '/nonexistent', username: 'me' }, 'passwordFile must be a file'],
    [{ prefix: '/' }, 'prefix must be a path'],
    [{ prefix: 'a//b' }, 'prefix must be a path'],
    [{ prefix: 'a/../b' }, 'prefix must be a path'],
  ];
  for (const [options, message] of bad) {
    assert.throws(
      () => accessOf(options),
      (error: DiscoverError) => {
        assert.equal(error.code, 'CONFIG_INVALID');
        assert.ok(error.message.startsWith(message), error.message);
        assert.ok(!error.message.includes('secret@'), error.message);
        return true;
      },
    );
  }
});

test('all that cannot be used is in one error', () => {
  assert.throws(() => accessOf({ endpoints: ['db'], username: 'me', prefix: '/' }), {
    message: /^username must be .*; endpoints must be .*; prefix must be /,
  });
});
