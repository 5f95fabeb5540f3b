/** What commands say at a terminal while nothing answers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { deferred } from '../../src/actor/deferred.ts';
import { runCommand } from '../helpers/command.ts';

const waits = {
  ls: /^waiting for etcd at http:\/\/127\.0\.0\.1:\d+$/,
  get: /^waiting for etcd at /,
  watch: /^waiting for etcd at /,
  reap: /^waiting for etcd$/,
  verify: /^waiting for Docker and etcd$/,
  plan: /^waiting for Docker and etcd$/,
  doctor: /^waiting for Docker and etcd$/,
  why: /^waiting for Docker and etcd$/,
} as const;

const words: Readonly<Record<string, readonly string[]>> = {
  get: ['web'],
  watch: ['web'],
  why: ['aaaaaaaaaaaa'],
};

describe('a command', { concurrency: true }, () => {
  for (const [name, line] of Object.entries(waits)) {
    test(`${name} tells a terminal what it waits for (a server that accepts and never answers)`, async () => {
      const sockets: Socket[] = [];
      const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const place = ['--etcd:endpoints', `127.0.0.1:${port}`];
      const docker = ['--docker:host', '127.0.0.1', '--docker:port', String(port), '--host:ip', '10.0.0.5'];
      const args = [name, ...(words[name] ?? []), ...place, ...(String(line).includes('Docker') ? docker : [])];
      const said = deferred();
      const warnings: string[] = [];
      const onWarning = (text: string): void => {
        warnings.push(text);
        if (line.test(text)) said.resolve();
      };
      const ended = runCommand(args, { onWarning });
      await Promise.race([said.promise, ended]);
      server.close();
      for (const socket of sockets) socket.destroy();
      assert.notEqual((await ended).code, 0);
      assert.ok(
        warnings.some((text) => line.test(text)),
        warnings.join('\n'),
      );
    });
  }
});
