/**
 * dockerd of a user without privileges. A port that it publishes is open on the host. Its host network is not the
 * host's, so what is on that network is refused with that reason.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runCommand } from '../helpers/command.ts';
import { eventually } from '../helpers/eventually.ts';
import { answerAt, fromDockerd, type Host, type Source, startHost } from '../helpers/host.ts';
import { liveAtRandom } from '../helpers/lives.ts';
import { type Rootless, rootlessScript, startRootless } from '../helpers/rootless.ts';
import { needs } from '../helpers/run.ts';

const parts = ['etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'rootlesskit', 'slirp4netns', 'newuidmap', 'root'];

describe('A rootless dockerd', { skip: needs(...parts, rootlessScript) }, () => {
  let rootless: Rootless;
  before(async () => {
    rootless = await startRootless();
  });
  after(() => rootless?.[Symbol.asyncDispose]());

  /** By the rules of the helper what is on the network of the host is published, and by a rootless engine it is not. */
  const source = (): Source => {
    const all = fromDockerd(rootless);
    return {
      ...all,
      running: async () => (await all.running()).filter(({ networkMode }) => networkMode !== 'host'),
    };
  };
  const argsOf = (host: Host): string[] => [
    ...['--docker:socketPath', rootless.socketPath, '--etcd:endpoints', host.etcd.endpoint],
    ...['--host:ip', host.names.ip, '--host:id', host.names.id],
  ];

  test('a container is published at the port where the host reaches it, over stop, restart and removal (real rootless dockerd, real etcd)', async (t) => {
    t.diagnostic(`dockerd ${rootless.version}`);
    await using host = await startHost({ source: source(), args: ['--resync', '86400'] });
    const command = ['nc', '-ll', '-p', '80', '-e', 'echo', 'it is me'];
    const id = await rootless.run({ env: { DISCOVER: 'web:80' }, ports: [80], command });
    await host.converged();
    const key = `/discover/service/web/default/h1/${id.slice(0, 12)}`;
    const portOf = async (): Promise<number> =>
      Number(/^tcp:\/\/.*:(\d+)$/.exec(String((await host.held()).get(key)))?.[1]);
    await eventually(async () => assert.match(await answerAt(await portOf()), /it is me/));
    for (const [operation, keys] of [
      ['restart?t=0', 2],
      ['kill', 0],
      ['start', 2],
      ['pause', 2],
      ['unpause', 2],
      ['stop?t=0', 0],
    ] as const) {
      const { status, said } = await rootless.ask('POST', `/containers/${id}/${operation}`);
      // Without a controller of the right version a rootless engine cannot pause.
      if (/pause/.test(operation) && status >= 400) continue;
      assert.ok(status < 400, `${operation}: ${status} ${said}`);
      await eventually(async () => assert.equal((await host.held()).size, keys, operation));
      await host.converged();
    }
    await rootless.docker('rm', '--force', id);
    await host.converged();
  });

  test('what is on its host network is refused with the reason; doctor, why and verify are right (real rootless dockerd, real etcd)', async () => {
    await using host = await startHost({ source: source() });
    const id = await rootless.run({ env: { DISCOVER: 'web:8080' }, network: 'host' });
    const refused = await host.discover.waitForLog(({ msg }) => msg === 'advertisement refused');
    assert.equal(refused.reason, 'rootless-host-network');
    const [why, doctor, verify] = await Promise.all([
      runCommand(['why', id.slice(0, 12), ...argsOf(host)]),
      runCommand(['doctor', ...argsOf(host)]),
      runCommand(['verify', ...argsOf(host)]),
    ]);
    assert.match(why.out, /rootless-host-network/);
    assert.equal(doctor.code, 0, doctor.out + doctor.err);
    assert.equal(verify.code, 0, verify.out + verify.err);
    await host.converged();
    await rootless.docker('rm', '--force', id);
  });

  test('ten random lives leave etcd exact and never untrue (real rootless dockerd, real etcd)', async (t) => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    t.diagnostic(`SEED=${seed}`);
    await using host = await startHost({ source: source() });
    await liveAtRandom({ engine: rootless, network: 'bridge' }, host, { seed, rounds: 1, livesPerRound: 10 });
  });
});
