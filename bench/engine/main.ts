/**
 * The simulated engine as a process of its own.
 *
 *   node --import ./test/loader.mjs bench/engine/main.ts --socket PATH [--port N] [--api 1.52] [--containers N]
 *
 * Forked, it is driven over IPC (`commands.ts`, from outside `client.ts`), and it ends with the
 * process that forked it. Without `--socket` and `--port` it listens in a temporary directory. It
 * leaves nothing behind but when it is killed hard.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { defaultContainer, numbered } from './churn.ts';
import { commands, type FromEngine, type ToEngine } from './commands.ts';
import { Engine } from './engine.ts';

const { values: args } = parseArgs({
  options: {
    socket: { type: 'string' },
    port: { type: 'string' },
    api: { type: 'string', default: '1.41' },
    'min-api': { type: 'string' },
    containers: { type: 'string', default: '0' },
    'body-bytes': { type: 'string', default: '0' },
    'port-range': { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});
if (args.api !== '1.41' && args.api !== '1.52') throw new Error(`--api must be 1.41 or 1.52, got ${args.api}`);
const [low, high] = (args['port-range'] ?? '32768-60999').split('-').map(Number);
const ownDirectory = args.socket || args.port ? undefined : mkdtempSync(join(tmpdir(), 'discover-engine-'));
const socketPath = args.socket ?? (ownDirectory && join(ownDirectory, 'docker.sock'));

const engine = new Engine({
  api: args.api,
  ...(args['min-api'] === undefined ? {} : { minApi: args['min-api'] }),
  bodyBytes: Number(args['body-bytes']),
  seed: Number(args.seed),
  portRange: [low ?? 0, high ?? 0],
});

let ending = false;
async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  await engine.close();
  if (ownDirectory) rmSync(ownDirectory, { recursive: true, force: true });
  process.exit(0);
}

function tell(message: FromEngine): void {
  // The parent may have gone between the command and its result; `disconnect` ends this process.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

async function obey({ call, name, args }: ToEngine): Promise<void> {
  try {
    const command = commands[name] as (engine: Engine, ...args: readonly unknown[]) => unknown;
    tell({ kind: 'result', call, value: await command(engine, ...args) });
  } catch (error) {
    tell({ kind: 'failure', call, message: error instanceof Error ? error.message : String(error) });
  }
}

for (const signal of ['SIGTERM', 'SIGINT', 'disconnect'] as const) process.on(signal, () => void end());
process.on('message', (message: ToEngine) => void obey(message));

for (let number = 0; number < Number(args.containers); number++) engine.run(numbered(defaultContainer, number));
await engine.listen(socketPath ? { socketPath } : { port: Number(args.port) });
if (process.send) {
  tell({ kind: 'ready', ...(socketPath ? { socketPath } : {}), ...(engine.port ? { port: engine.port } : {}) });
  // The parent may have ended before this listener existed.
  if (!process.connected) await end();
} else {
  process.stdout.write(`Simulated engine (API ${args.api}) listens on ${socketPath ?? `127.0.0.1:${engine.port}`}\n`);
}
