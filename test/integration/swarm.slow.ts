/**
 * Services of a swarm of one host. A port in mode `host` is published by the engine of the host, so it is like any
 * other. A port of the ingress network belongs to the swarm as a whole and is refused with that reason.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runCommand } from '../helpers/command.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromDockerd, type Host, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

describe('A swarm', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  let dockerd: Dockerd;
  before(async () => {
    dockerd = await startDockerd();
    const listen = `--listen-addr=127.0.0.1:${await freePort()}`;
    await dockerd.docker('swarm', 'init', '--advertise-addr=127.0.0.1', listen, `--data-path-port=${await freePort()}`);
  });
  after(async () => {
    await dockerd?.docker('swarm', 'leave', '--force').catch(() => {});
    await dockerd?.close();
  });

  const create = async (name: string, publish: string, ...args: readonly string[]): Promise<void> => {
    const image = await dockerd.image();
    const flags = ['--detach', '--no-resolve-image', `--name=${name}`, `--publish=${publish}`, '--stop-signal=KILL'];
    await dockerd.docker('service', 'create', ...flags, ...args, image, 'sleep', '1000000');
  };
  /** The tasks that run, by their full ids. */
  const tasksOf = async (name: string): Promise<string[]> => {
    const filter = `--filter=label=com.docker.swarm.service.name=${name}`;
    return (await dockerd.docker('ps', '--quiet', '--no-trunc', filter)).split('\n').filter((id) => id !== '');
  };
  const argsOf = (host: Host): string[] => [
    ...['--docker:socketPath', dockerd.socketPath, '--etcd:endpoints', host.etcd.endpoint],
    ...['--host:ip', host.names.ip, '--host:id', host.names.id],
  ];

  test('a port in mode host is published for each task, over scaling, an update and the end of the service (real dockerd in a swarm, real etcd)', async () => {
    await using host = await startHost({ source: fromDockerd(dockerd), args: ['--resync', '86400'] });
    await create('web', 'mode=host,target=80', '--env=DISCOVER=web:80', '--replicas=2');
    await eventually(async () => assert.equal((await tasksOf('web')).length, 2));
    await host.converged();
    const keysOf = async (): Promise<string[]> =>
      [...(await host.held()).keys()].filter((key) => key.startsWith('/discover/service/web/'));
    assert.equal((await keysOf()).length, 2);
    const before = await tasksOf('web');
    await dockerd.docker('service', 'update', '--detach', '--force', '--update-parallelism=2', 'web');
    await eventually(async () => {
      const tasks = await tasksOf('web');
      assert.ok(tasks.length === 2 && !tasks.some((id) => before.includes(id)), `The tasks are still ${tasks}`);
    });
    await host.converged();
    await dockerd.docker('service', 'scale', '--detach', 'web=1');
    await eventually(async () => assert.equal((await keysOf()).length, 1));
    await host.converged();
    const verify = await runCommand(['verify', ...argsOf(host)]);
    assert.equal(verify.code, 0, verify.out + verify.err);
    await dockerd.docker('service', 'rm', 'web');
    await eventually(async () => assert.deepEqual(await keysOf(), []));
    await host.converged();
  });

  test('a port of the ingress network is refused with the reason and its remedy, in the log and by why (real dockerd in a swarm, real etcd)', async () => {
    await using host = await startHost({ source: fromDockerd(dockerd) });
    await create('shop', 'mode=ingress,target=80', '--env=DISCOVER=shop:80');
    await eventually(async () => assert.equal((await tasksOf('shop')).length, 1));
    const refused = await host.discover.waitForLog(({ msg }) => msg === 'advertisement refused');
    assert.equal(refused.reason, 'swarm-ingress');
    const [id = ''] = await tasksOf('shop');
    const why = await runCommand(['why', id.slice(0, 12), ...argsOf(host)]);
    assert.equal(why.code, 1);
    assert.match(why.out, /swarm-ingress/);
    assert.match(why.out, /--publish mode=host/);
    assert.deepEqual([...(await host.held()).keys()], []);
    const doctor = await runCommand(['doctor', ...argsOf(host)]);
    assert.equal(doctor.code, 0, doctor.out + doctor.err);
    const verify = await runCommand(['verify', ...argsOf(host)]);
    assert.equal(verify.code, 0, verify.out + verify.err);
    await dockerd.docker('service', 'rm', 'shop');
  });
});
