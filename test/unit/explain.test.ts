/** What `discover why` makes of a container's document and of what stands in etcd. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { leaseIdOf } from '../../src/etcd/registry.ts';
import { explainContainer, explainKeys } from '../../src/why/explain.ts';

const options = { hostIp: '10.1.2.3', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;
const running = {
  State: { Running: true, StartedAt: '2026-01-01T00:00:00.5Z' },
  Config: { Env: ['SECRET=s3cret', 'DISCOVER=web:80'] },
  HostConfig: { NetworkMode: 'default' },
  NetworkSettings: { Ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '49153' }] } },
};
const reasonsOf = (document: unknown) => explainContainer(document, options).steps.map(({ reason }) => reason);

describe('Why a container is not published is told', () => {
  test('of one that is dead, and of one that waits to be started again', () => {
    const state = { Running: false, Dead: true, Status: 'dead' };
    assert.deepEqual(reasonsOf({ ...running, State: state }), ['dead']);
    const again = { Running: true, Restarting: true, ExitCode: 3 };
    const { steps, isRunning } = explainContainer({ ...running, State: again }, options);
    assert.deepEqual([steps[0]?.reason, isRunning], ['restarting', false]);
    assert.match(steps[0]?.detail ?? '', /ended with 3/);
  });

  test('of a document that is none, whatever it is', () => {
    for (const document of [null, [], 'x', {}, { State: null }, { State: { Running: 'yes' } }]) {
      assert.deepEqual(reasonsOf(document), ['unreadable']);
    }
  });

  test('of a variable without an entry, and of one that is there twice', () => {
    const withEnv = (...Env: string[]) => ({ ...running, Config: { Env } });
    assert.deepEqual(reasonsOf(withEnv('DISCOVER=, ,')), [undefined, 'empty-variable']);
    assert.deepEqual(reasonsOf(withEnv('DISCOVER')), [undefined, 'empty-variable']);
    assert.deepEqual(reasonsOf(withEnv('DISCOVER=', 'DISCOVER=web:80')), [undefined, undefined, undefined]);
  });

  test('without a word of what else the environment holds', () => {
    assert.doesNotMatch(JSON.stringify(explainContainer(running, options)), /s3cret/);
  });
});

describe('What stands in etcd', () => {
  const wanted = new Map([['/k', 'tcp://10.1.2.3:1']]);
  const owner = { lease: leaseIdOf('7'), detail: 'somebody writes' };
  const reasons = (...given: Parameters<typeof explainKeys>) => explainKeys(...given).map(({ reason }) => reason);

  test('is of no interest where nothing should', () => assert.deepEqual(reasons(new Map(), [], undefined), []));

  test('needs an owner, the value and its lease', () => {
    const key = { key: '/k', value: 'tcp://10.1.2.3:1', lease: leaseIdOf('7') };
    assert.deepEqual(reasons(wanted, [key], undefined), ['no-owner']);
    assert.deepEqual(reasons(wanted, [key], owner), [undefined, undefined]);
    assert.deepEqual(reasons(wanted, [], owner), [undefined, 'not-written']);
    assert.deepEqual(reasons(wanted, [{ ...key, value: 'x' }], owner), [undefined, 'differs']);
    assert.deepEqual(reasons(wanted, [{ ...key, lease: leaseIdOf('8') }], owner), [undefined, 'differs']);
  });
});
