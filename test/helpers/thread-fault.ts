/**
 * Threads of the pool that fail under one container's document, by a script that is loaded before the real
 * thread: what a bug of ours, of Node or of the machine would do to it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { forkEngine } from '../../bench/engine/client.ts';
import { eventually } from './eventually.ts';
import { expected, fromEngine, startHost } from './host.ts';

/** While the file is there, a thread that reads the document of a marked container notes that and does as the fault says. */
const preloadOf = (fault: string, file: string): string => `
  const { isMainThread } = require('node:worker_threads');
  const { appendFileSync, existsSync } = require('node:fs');
  const file = ${JSON.stringify(file)};
  const parse = JSON.parse;
  if (!isMainThread) JSON.parse = (text, ...more) => {
    if (text.includes('"MARKED=1"') && existsSync(file)) {
      appendFileSync(file, '.');
      ${fault}
    }
    return parse(text, ...more);
  };`;

const container = (name: string) => ({ env: [`DISCOVER=${name}:8080`], ports: [{ container: '8080/tcp' }] });
const marked = { env: ['DISCOVER=marked:8080', 'MARKED=1'], ports: [{ container: '8080/tcp' }] };

/** Threads are lost over one container, and others come and go all the same; once they are not lost, all is published. */
export async function loseThreads(fault: string): Promise<void> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dsc-thread-'));
  try {
    const file = path.join(directory, 'fault');
    await using engine = await forkEngine({ containers: 5 });
    // The memory is that of each thread; the main one does not come near it.
    const run = { preload: preloadOf(fault, file), nodeArgs: ['--max-old-space-size=64'] };
    const args = ['--workers', '1'];
    await using host = await startHost({ source: fromEngine(engine), args, run });
    await host.converged();
    writeFileSync(file, '');
    const [bad = ''] = await engine.run([marked]);
    // It may have been read before the thread was lost.
    const wanted = async (): Promise<void> => {
      const others = (await fromEngine(engine).running()).filter(({ id }) => id !== bad);
      const held = [...(await host.held())].filter(([key]) => !key.endsWith(bad.slice(0, 12)));
      assert.deepEqual(new Map(held.sort()), new Map([...expected(others)].sort()));
    };
    for (let times = 1; times <= 3; times++) {
      await engine.cutEvents(0); // all are looked at again, that one among them
      await eventually(() => assert.ok(readFileSync(file).length >= times, 'No thread has met the fault'));
    }
    const [leaves = ''] = await engine.run([container('leaves'), container('stays')]);
    await eventually(wanted);
    await engine.apply('stop', [leaves]);
    await eventually(wanted);
    const deleted = (await host.changesSince(0)).filter(({ kind }) => kind === 'delete');
    assert.ok(deleted.every(({ key }) => key.endsWith(leaves.slice(0, 12))));
    rmSync(file);
    await host.converged();
    assert.deepEqual(await host.terminate(), { code: 0, signal: null });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
