/** The documents for users: what they tell a reader of etcd to type finds what discover has published. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type EngineHandle, forkEngine } from '../../bench/engine/client.ts';
import { fromEngine, type Host, startHost } from '../helpers/host.ts';
import { cleanEnvironment, needs } from '../helpers/run.ts';

const documents = [
  'README.md',
  'deploy/README.md',
  'src/client/README.md',
  'src/layout/README.md',
  '.github/MIGRATING.md',
];
const all = documents.map((file) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')).join('\n');
/** The lines in blocks of code that are for a shell and speak to etcd. */
const lines = all.split('\n').flatMap((line) => /^ {4}(?:\$ )?(.*\b(?:etcdctl|curl) .*)$/.exec(line)?.[1] ?? []);
/** What asks the v2 store of etcd has no answer from the etcd of the tests; `howtos.integration.test.ts` asks an agent. */
const reading = lines.filter((line) => !/ del |\/v2\/keys\/|:9320\//.test(line));

describe('The documents', { skip: needs('etcd', 'etcdctl', 'curl') }, () => {
  let engine: EngineHandle;
  let host: Host;
  const image = { env: ['DISCOVER=static-web-server:8080,web:8080'], ports: [{ container: '8080/tcp' }] };
  before(async () => {
    engine = await forkEngine({ containers: 0 });
    host = await startHost({ source: fromEngine(engine), names: { realm: 'production' }, ttl: 60 });
    await engine.run([image]);
    await host.converged();
  });
  after(async () => {
    await host[Symbol.asyncDispose]();
    await engine.close();
  });

  const shell = async (line: string): Promise<string> => {
    const env = cleanEnvironment({ ETCDCTL_ENDPOINTS: host.etcd.endpoint });
    const here = line.replace('http://etcd-1:2379', host.etcd.endpoint).replace('/web/default/', '/web/production/');
    return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', here], { env })).stdout;
  };

  test('have lines that read etcd', () => assert.ok(reading.length >= 4, reading.join('\n')));

  for (const line of reading) {
    test(`${line.slice(0, 100)} finds what is published (simulated engine, real etcd)`, async () => {
      const text = await shell(line);
      const [url = ''] = [...(await host.held()).values()].map(String).filter((value) => value.startsWith('tcp://'));
      const found = line.includes('/v3/kv/range')
        ? (JSON.parse(text) as { kvs: { value: string }[] }).kvs.map(({ value }) =>
            Buffer.from(value, 'base64').toString(),
          )
        : text
            .trim()
            .split('\n')
            .slice(line.includes('--print-value-only') ? 0 : 1);
      assert.deepEqual(found, [line.includes('| sed ') ? url.replace('tcp://', '') : url]);
    });
  }

  test('what it deletes of registrator is nothing of ours (simulated engine, real etcd)', async () => {
    await host.etcd.ctl('put', '/services/web/host-1:web.1:8080', '10.0.0.5:49153');
    const [line = '', ...more] = lines.filter((one) => one.includes(' del '));
    assert.equal((await shell(line)).trim(), '1');
    assert.deepEqual(more, []);
    await host.converged();
  });
});
