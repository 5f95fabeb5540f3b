/** `discover why`: the right reason for each kind of container that is not published, from variable to key. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Outcome, runCommand } from '../helpers/command.ts';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromDockerd, type Host, removeAll, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';
import { amount } from '../helpers/share.ts';

const skip = needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root');

describe('discover why (real dockerd, real etcd)', { skip }, () => {
  let dockerd: Dockerd;
  let host: Host;
  before(async () => {
    dockerd = await startDockerd();
    host = await startHost({ source: fromDockerd(dockerd), idle: true });
  });
  after(async () => {
    if (dockerd !== undefined) await removeAll(dockerd);
    await host?.[Symbol.asyncDispose]();
    await dockerd?.[Symbol.asyncDispose]();
  });

  function why(container: string, ...more: readonly string[]): Promise<Outcome> {
    // A list that is given twice adds up.
    const endpoints = more.includes('--etcd:endpoints') ? [] : ['--etcd:endpoints', host.etcd.endpoint];
    const args = [
      ...['why', container, '--docker:socketPath', dockerd.socketPath, ...endpoints],
      ...['--host:ip', host.names.ip, '--host:id', host.names.id, ...more],
    ];
    return runCommand(args);
  }

  const reasonsFor = async (container: string, ...more: readonly string[]): Promise<string[]> => {
    const { code, out, err } = await why(container, '-o', 'json', ...more);
    const told = JSON.parse(out || '{}') as {
      published: boolean;
      reasons: string[];
      steps: { reason?: string; remedy?: string }[];
    };
    assert.equal(code, told.published ? 0 : 1, err);
    for (const { reason, remedy } of told.steps) assert.equal(reason === undefined, remedy === undefined);
    return told.reasons;
  };

  /** What is run, and the reason that is to be given, beside that nobody writes yet where something could be. */
  const kinds: [reason: string, options: Parameters<Dockerd['run']>[0], others?: string[]][] = [
    ['no-variable', {}],
    ['other-variable', { env: { discover: 'web:80' } }],
    ['empty-variable', { env: { DISCOVER: ' ' } }],
    ['name-invalid', { env: { DISCOVER: 'a/b:80' }, ports: [80] }],
    ['port-invalid', { env: { DISCOVER: 'web:080' }, ports: [80] }],
    ['protocol-invalid', { env: { DISCOVER: 'web:80/icmp' }, ports: [80] }],
    ['not-published', { env: { DISCOVER: 'web:81' }, ports: [80] }],
    ['loopback', { env: { DISCOVER: 'web:80' }, ports: ['127.0.0.1::80'] }],
    ['multiline', { env: { DISCOVER: 'web:80\nweb:81' }, ports: [80] }],
    ['too-long', { env: { DISCOVER: `web:80,${'x'.repeat(17_000)}` }, ports: [80] }, ['no-owner']],
    ['too-many', { env: { DISCOVER: list(101) }, network: 'host' }, ['no-owner']],
    ['no-network', { env: { DISCOVER: 'web:80' }, network: 'none' }],
    ['exited', { env: { DISCOVER: 'web:80' }, command: ['true'] }],
    ['restarting', { env: { DISCOVER: 'web:80' }, command: ['false'], args: ['--restart=always'] }],
    ['no-owner', { env: { DISCOVER: 'web:80' }, ports: [80] }],
  ];
  for (const [reason, options, others = []] of amount(
    kinds.filter((_, index) => index % 2 === 0),
    kinds,
  )) {
    test(`says ${reason}`, async () => {
      const id = await dockerd.run({ ...options, name: `is-${reason}` });
      // One that ends again and again is started now and then, ever more rarely.
      await eventually(async () => {
        const reasons = await reasonsFor(reason === 'exited' ? id.slice(0, 12) : `is-${reason}`);
        assert.deepEqual(reasons, [reason, ...others]);
      });
    });
  }

  test('says created, shared-network, network-ended and absent', async () => {
    const image = await dockerd.image();
    await dockerd.docker('create', '--name', 'is-created', '--env', 'DISCOVER=web:80', image, 'sleep', '60');
    assert.deepEqual(await reasonsFor('is-created'), ['created']);
    await dockerd.run({ name: 'is-open', ports: [80] });
    await dockerd.run({ name: 'is-shared', env: { DISCOVER: 'web:80,api:81' }, network: 'container:is-open' });
    assert.deepEqual(await reasonsFor('is-shared'), ['shared-network', 'no-owner']);
    await dockerd.docker('kill', 'is-open');
    assert.deepEqual(await reasonsFor('is-shared'), ['network-ended']);
    assert.deepEqual(await reasonsFor('is-nowhere'), ['absent']);
  });

  test('says etcd-unavailable, and 69 where the engine does not answer', async () => {
    assert.deepEqual(await reasonsFor('is-no-owner', '--etcd:endpoints', `127.0.0.1:${await freePort()}`), [
      'etcd-unavailable',
    ]);
    const { code, err } = await why('web', '--docker:socketPath', '/nowhere.sock');
    assert.equal(code, 69);
    assert.match(err, /^discover: Docker Engine: .*\/nowhere\.sock/);
  });

  test('follows each entry to its key once discover writes, and says what differs there', async () => {
    const id = await dockerd.run({ name: 'is-fine', env: { DISCOVER: 'web:80, api:81, no:82' }, ports: [80, 81] });
    await host.launch();
    await eventually(async () => assert.deepEqual(await reasonsFor('is-fine'), ['not-published']));
    const key = `/discover/service/web/default/${host.names.id}/${id.slice(0, 12)}`;
    const { code, out } = await why('is-fine');
    assert.equal(code, 1);
    const port = await dockerd.hostPort(id, '80/tcp');
    assert.match(out, /^yes {2}container: runs since 20/m);
    assert.match(out, /^yes {2}variable: DISCOVER=web:80, api:81, no:82$/m);
    assert.match(out, new RegExp(`^yes {2}web:80/tcp: tcp://${host.names.ip}:${port}$`, 'm'));
    assert.match(
      out,
      /^no {3}no:82\/tcp: .* \(not-published\)\n {5}Publish the port when a container is created: docker run -p/m,
    );
    assert.match(out, /^yes {2}etcd: discover \S+ since \S+ writes for h1$/m);
    assert.match(out, new RegExp(`^yes {2}${key}: tcp://`, 'm'));
    assert.doesNotMatch(out, /\u{1b}/u);

    const env = await why('is-fine', '-o', 'env');
    assert.equal(env.out, `WHY_CONTAINER='${id}'\nWHY_PUBLISHED='false'\nWHY_REASONS='not-published'\n`);

    await host.discover.signal('SIGSTOP');
    await host.etcd.ctl('put', '--ignore-lease', key, 'tcp://10.9.9.9:1');
    assert.deepEqual(await reasonsFor('is-fine'), ['not-published', 'differs']);
    await host.etcd.ctl('del', key);
    assert.deepEqual(await reasonsFor('is-fine'), ['not-published', 'not-written']);
    await host.discover.signal('SIGCONT');
  });

  test('says nothing but yes of a container that is published', async () => {
    await dockerd.run({ name: 'is-whole', env: { DISCOVER: 'web:80' }, ports: [80] });
    await eventually(async () => assert.deepEqual(await reasonsFor('is-whole'), []));
    assert.doesNotMatch((await why('is-whole')).out, /^no/m);
  });

  test('asks which of several where a piece of an id names more than one', async () => {
    const image = await dockerd.image();
    const first = async () => (await dockerd.docker('ps', '--all', '--quiet')).split('\n').map((id) => id.charAt(0));
    // Of seventeen two do at the latest.
    for (let digits = await first(); new Set(digits).size === digits.length; digits = await first()) {
      await dockerd.docker('create', image, 'true');
    }
    const digits = await first();
    const shared = digits.find((digit, index) => digits.indexOf(digit) < index);
    assert.deepEqual(await reasonsFor(shared ?? ''), ['ambiguous']);
  });
});

function list(entries: number): string {
  return Array.from({ length: entries }, (_, index) => `s${index}:${1000 + index}`).join();
}
