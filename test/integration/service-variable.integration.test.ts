/** The name of the variable, all the way from the option to the pool thread that reads it, and through a reload. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-variable-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const offering = (entry: string) => ({ env: [entry], ports: [{ container: '8080/tcp' }] });

for (const workers of [0, 2]) {
  test(`with discover.serviceVariable only what that variable says is published, also after it has changed (workers ${workers}, simulated engine, real etcd)`, {
    skip: needs('etcd', 'etcdctl'),
  }, async () => {
    const file = path.join(directory, `${workers}.json`);
    const configure = (serviceVariable: string): void =>
      writeFileSync(file, JSON.stringify({ discover: { serviceVariable } }));
    configure('OFFERS');
    await using engine = await forkEngine();
    const args = ['--config', file, '--workers', String(workers)];
    await using host = await startHost({ source: fromEngine(engine), args });
    await engine.run([offering('DISCOVER=db:8080'), offering('OFFERS=web:8080'), offering('offers=mail:8080')]);
    const services = async (): Promise<string[]> =>
      [...(await host.held()).keys()].flatMap((key) => /^\/discover\/service\/([^/]+)\//.exec(key)?.[1] ?? []).sort();
    await eventually(async () => assert.deepEqual(await services(), ['web']));
    await engine.run([offering('DISCOVER=dns:8080'), offering('OFFERS=api:8080')]);
    await eventually(async () => assert.deepEqual(await services(), ['api', 'web']));

    configure('DISCOVER');
    host.discover.signal('SIGHUP');
    await eventually(async () => assert.deepEqual(await services(), ['db', 'dns']));
    await host.converged();
  });
}
