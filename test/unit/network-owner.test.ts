/** A container that uses the network of another one: its ports and its address are those of that one, as long as it lives. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AddressSource } from '../../src/container/address/wishes.ts';
import type { ContainerId } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { createBatchInspector, findNetworkOwner, readList } from '../../src/inspect/batch.ts';
import { idOf } from '../sim/docker.ts';

const [owner, member, between] = [idOf(1), idOf(2), idOf(3)];
const OPTIONS = { hostIp: '10.1.2.3', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;

interface Given {
  readonly mode?: string;
  readonly second?: number;
  readonly state?: object;
  readonly ports?: object;
  readonly networks?: object;
  readonly env?: readonly string[];
}

function documentOf(
  Id: ContainerId,
  { mode = 'app', second = 10, state, ports, networks, env = [] }: Given = {},
): object {
  return {
    Id,
    State: { Running: true, StartedAt: `2026-03-01T10:20:${second}.5Z`, ...state },
    HostConfig: { NetworkMode: mode },
    Config: { Env: env },
    NetworkSettings: { Ports: ports ?? {}, Networks: networks ?? {} },
  };
}

const published = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '32768' }] };
const networks = { app: { IPAddress: '10.88.0.5' } };
const sharing = (id = owner) => documentOf(member, { mode: `container:${id}`, second: 20, env: ['DISCOVER=web:80'] });

/** The address, or the reason against it. */
function of(ofOwner: Given | undefined, from: AddressSource = 'published'): string {
  const document = ofOwner && documentOf(owner, { ports: published, networks, ...ofOwner });
  const inspection = readInspection(sharing(), { ...OPTIONS, address: { from } }, { ids: [owner], document });
  assert.ok(inspection.kind === 'running');
  assert.deepEqual(inspection.sharesWith, [owner]);
  const [service] = inspection.services;
  return service ? `${service.address}:${service.port}` : `${inspection.refusals[0]?.code}`;
}

describe('a container that uses the network of another one', () => {
  test('asks for that one if it has an entry, and for none else', () => {
    const sharesWith = (document: object) => {
      const inspection = readInspection(document, OPTIONS);
      return inspection.kind === 'running' ? inspection.sharesWith : inspection;
    };
    assert.deepEqual(sharesWith(sharing()), [owner]);
    assert.equal(sharesWith(documentOf(member, { mode: `container:${owner}` })), undefined);
    assert.equal(sharesWith(documentOf(member, { mode: 'container:name', env: ['DISCOVER=web:80'] })), undefined);
    assert.equal(sharesWith(documentOf(member, { ports: published, env: ['DISCOVER=web:80'] })), undefined);
    // Podman shows the ports and the networks of that one as those of this one.
    assert.deepEqual(sharesWith({ ...documentOf(member, { ports: published, networks }), ...sharing() }), [owner]);
  });

  test('has the ports and the address of that one', () => {
    assert.equal(of({}), '10.1.2.3:32768');
    assert.equal(of({}, 'container'), '10.88.0.5:80');
    assert.equal(of({ mode: 'host', ports: {}, networks: {} }, 'either'), '10.1.2.3:80');
    assert.equal(of({ ports: {} }, 'either'), '10.88.0.5:80');
    assert.equal(of({ ports: {} }), 'shared-network');
    assert.equal(of({ mode: 'none', ports: {}, networks: {} }, 'container'), 'no-network');
  });

  test('has none once that one has ended, or was started again: it is still in the network that has ended', () => {
    assert.equal(of(undefined), 'network-ended');
    for (const state of [{ Running: false }, { Restarting: true }, { Dead: true }]) {
      assert.equal(of({ state }, 'container'), 'network-ended');
    }
    assert.equal(of({ second: 20 }), '10.1.2.3:32768');
    assert.equal(of({ second: 21 }), 'network-ended');
    assert.equal(of({ state: { StartedAt: '' } }), '10.1.2.3:32768');
  });
});

describe('the container whose network another one uses', () => {
  const clientOf = (documents: readonly object[], asked: ContainerId[] = []) => ({
    inspect: async (_version: string, id: ContainerId) => {
      asked.push(id);
      const document = documents.find((one) => 'Id' in one && one.Id === id);
      return document === undefined ? ({ kind: 'absent' } as const) : ({ kind: 'document', document } as const);
    },
    close: async () => {},
  });

  test('is found behind others, and not in a circle', async () => {
    const chain = [documentOf(between, { mode: `container:${owner}` }), documentOf(owner)];
    assert.deepEqual(await findNetworkOwner(clientOf(chain), '', sharing(between)), {
      ids: [between, owner],
      document: chain[1],
    });
    const circle = [documentOf(owner, { mode: `container:${between}` }), chain[0] as object];
    assert.deepEqual(await findNetworkOwner(clientOf(circle), '', sharing()), { ids: [], document: undefined });
    assert.deepEqual(await findNetworkOwner(clientOf([]), '', sharing()), { ids: [owner], document: undefined });
  });

  test('is inspected beside a container of a batch; its failure is one of that container', async () => {
    const options = { ...OPTIONS, endpoint: { kind: 'tcp', host: 'engine', port: 1 } } as const;
    const asked: ContainerId[] = [];
    const client = clientOf([sharing(), documentOf(owner, { ports: published })], asked);
    const task = { kind: 'inspect', number: 1, versionPrefix: '', ids: [member, owner] } as const;
    const result = await createBatchInspector(options, assert.fail, client).run(task);
    assert.ok(result.kind === 'inspected');
    const found = result.reports.find(({ id }) => id === member)?.inspection;
    assert.equal(found?.kind === 'running' && found.services[0]?.port, 32_768);
    assert.deepEqual(asked, [member, owner, owner]);

    const failing = { kind: 'failed', detail: 'timeout' } as const;
    const broken = {
      ...client,
      inspect: async (version: string, id: ContainerId) => (id === owner ? failing : client.inspect(version, id)),
    };
    const again = await createBatchInspector(options, assert.fail, broken).run({ ...task, ids: [member] });
    assert.deepEqual(again, { kind: 'inspected', reports: [{ id: member, inspection: failing }] });
  });
});

test('a list shows the networks of a container and its addresses there', () => {
  const fingerprint = (Networks: unknown) => {
    const result = readList(
      Buffer.from(JSON.stringify([{ Id: owner, State: 'running', NetworkSettings: { Networks } }])),
    );
    return result.kind === 'listed' ? result.containers[0]?.fingerprint : assert.fail(result.kind);
  };
  const before = fingerprint({ app: { IPAddress: '10.88.0.5', GlobalIPv6Address: '' } });
  assert.equal(fingerprint({ app: { IPAddress: '10.88.0.5', GlobalIPv6Address: '', MacAddress: 'x' } }), before);
  const others = [
    { app: { IPAddress: '10.88.0.6', GlobalIPv6Address: '' } },
    { app: { IPAddress: '10.88.0.5', GlobalIPv6Address: '2001:db8::5' } },
    { web: { IPAddress: '10.88.0.5', GlobalIPv6Address: '' } },
    { app: { IPAddress: '10.88.0.5' }, web: { IPAddress: '10.89.0.5' } },
    ...[{}, null, undefined, 7, [], { app: null }],
  ];
  for (const networks of others) assert.notEqual(fingerprint(networks), before, JSON.stringify(networks));
});
