/** The programs that src/client/README.md prints, written into a folder and run there, and what they speak to. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { loadPackageDefinition, Server, ServerCredentials, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { atExit, cleanEnvironment, exitOf, killProcessesOf, requireCommand } from './run.ts';

const readme = readFileSync(new URL('../../src/client/README.md', import.meta.url), 'utf8');

/** Writes the block of this name into the folder, with each of the changes, which have to apply. */
export function writeProgram(folder: string, name: string, changes: Readonly<Record<string, string>> = {}): string {
  const blocks = [...readme.matchAll(/```\w+\n\/\/ (\S+)\n([^`]*(?:`[^`]+`[^`]*)*?)```\n/g)];
  const text = blocks.find(([, own]) => own === name)?.[2];
  assert.ok(text, `src/client/README.md has no ${name}`);
  const changed = Object.entries(changes).reduce((before, [from, to]) => {
    assert.ok(before.includes(from), `${name} has no ${from}`);
    return before.replaceAll(from, to);
  }, text);
  writeFileSync(path.join(folder, name), changed);
  return name;
}

export interface RunningProgram extends AsyncDisposable {
  /** All that it has printed, once it has ended. */
  readonly said: Promise<string>;
}

export function runProgram(folder: string, name: string): RunningProgram {
  const child = spawn(process.execPath, [name], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: cleanEnvironment(),
  });
  const ended = exitOf(child);
  return {
    said: textOf(child.stdout),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

export interface Backend extends AsyncDisposable {
  readonly port: number;
}

/** Answers with its name, the method, the path and the body. */
export async function startHttp(name: string): Promise<Backend> {
  const server = http.createServer(async (request, response) => {
    response.end(`${name} ${request.method} ${request.url} ${await textOf(request)}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = async (): Promise<void> => server.close().closeAllConnections();
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: close };
}

/** A server of the protocol that the file describes. */
export async function startGreeter(file: string): Promise<Backend> {
  const { Greeter } = loadPackageDefinition(loadSync(file)) as { readonly Greeter: ServiceClientConstructor };
  const server = new Server();
  server.addService(Greeter.service, {
    hello: (
      { request: { name } }: { readonly request: { readonly name: string } },
      answer: (error: null, greeting: { readonly text: string }) => void,
    ) => answer(null, { text: `Hello ${name}` }),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, [Symbol.asyncDispose]: async () => server.forceShutdown() };
}

export interface Nginx extends AsyncDisposable {
  /** Has an upstream `web`. */
  readonly upstream: string;
  readonly configuration: string;
}

/** nginx that listens at the port and goes to the upstream of the file. */
export function startNginx(folder: string, port: number): Nginx {
  const own = path.join(folder, 'nginx');
  mkdirSync(own);
  const [upstream, configuration] = [path.join(own, 'web.conf'), path.join(own, 'nginx.conf')];
  writeFileSync(upstream, 'upstream web {\n  server 127.0.0.1:1;\n}\n');
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const lines = [
    `user root; daemon off; pid ${own}/nginx.pid; error_log ${own}/error.log; events {} http { access_log off;`,
    ...kinds.map((kind) => `${kind}_temp_path ${own}/${kind};`),
    `include ${upstream}; server { listen 127.0.0.1:${port}; location / { proxy_pass http://web; } } }`,
  ];
  writeFileSync(configuration, lines.join('\n'));
  const child = spawn(requireCommand('nginx'), ['-e', 'stderr', '-c', configuration], {
    stdio: 'ignore',
    env: cleanEnvironment(),
  });
  const forget = atExit(() => killProcessesOf(own, ['nginx']));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exitOf(child);
    forget();
  };
  return { upstream, configuration, [Symbol.asyncDispose]: stop };
}
