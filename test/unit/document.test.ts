/** From inspect documents of several engines to what is believed about the container. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Service } from '../../src/container/container.ts';
import { type InspectionOptions, readInspection } from '../../src/container/document.ts';
import { leaseIdOf, revisionOf } from '../../src/etcd/registry.ts';
import { encodeTxn } from '../../src/etcd/txn-message.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';
import { viewsOf } from '../../src/layout/views.ts';

const OPTIONS = { hostIp: '10.1.2.3', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;

/** A running container that offers `web` on port 80, as API 1.41 shows it, changed where a test says so. */
function document(changes: { state?: object; env?: unknown; ports?: unknown; host?: object } = {}) {
  return {
    Id: 'a'.repeat(64),
    State: {
      Status: 'running',
      Running: true,
      Paused: false,
      Restarting: false,
      OOMKilled: false,
      Dead: false,
      Pid: 4711,
      StartedAt: '2026-03-01T10:20:30.123456789Z',
      FinishedAt: '0001-01-01T00:00:00Z',
      ...changes.state,
    },
    HostConfig: { NetworkMode: 'default', ...changes.host },
    Config: { Hostname: 'aaaaaaaaaaaa', Env: 'env' in changes ? changes.env : ['SECRET=x', 'DISCOVER=web:80'] },
    NetworkSettings: {
      IPAddress: '172.17.0.2',
      Ports: 'ports' in changes ? changes.ports : { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '32768' }] },
      Networks: { bridge: { IPAddress: '172.17.0.2' } },
    },
  };
}

function read(value: unknown) {
  return readInspection(value, OPTIONS);
}

function running(value: unknown) {
  const inspection = read(value);
  assert.ok(inspection.kind === 'running');
  return inspection;
}

const WEB = { name: 'web', privatePort: 80, protocol: 'tcp', address: '10.1.2.3', port: 32_768 };

describe('readInspection', () => {
  test('a running container gives what it offers and nothing else of the document', () => {
    assert.deepEqual(read(document()), {
      kind: 'running',
      startedAt: Number(1_772_360_430_123_456_789n),
      services: [WEB],
      refusals: [],
      traffic: { pid: 4711 },
    });
  });

  test('what concerns traffic is read: health, pause, the way to stop, and the place among replicas', () => {
    const trafficOf = (state: object, config: object = {}) => {
      const whole = document({ state: { Pid: 0, ...state } });
      const inspection = read({ ...whole, Config: { ...whole.Config, ...config } });
      return inspection.kind === 'running' ? inspection.traffic : inspection;
    };
    assert.equal(trafficOf({}), undefined);
    assert.deepEqual(trafficOf({ Health: { Status: 'unhealthy' }, Paused: true }), {
      health: 'unhealthy',
      isPaused: true,
    });
    for (const Status of ['', 'none', 'Healthy', 7, undefined])
      assert.equal(trafficOf({ Health: { Status } }), undefined);
    const signals: readonly (readonly [unknown, number?])[] = [
      ...['SIGTERM', 'term', '15', 15, 'nonsense', '', '0', 65, -1, null, {}, undefined].map((one) => [one] as const),
      ...([
        ['SIGQUIT', 3],
        ['int', 2],
        ['9', 9],
        ['SIGRTMIN+3', 37],
        ['RTMAX-1', 63],
      ] as const),
    ];
    for (const [StopSignal, number] of signals) {
      assert.deepEqual(trafficOf({}, { StopSignal }), number && { stopSignal: number }, String(StopSignal));
    }
    assert.deepEqual(trafficOf({}, { StopTimeout: 60 }), { stopSeconds: 60 });
    assert.deepEqual(trafficOf({}, { StopTimeout: -1 }), { stopSeconds: Number.POSITIVE_INFINITY });
    assert.equal(trafficOf({}, { StopTimeout: 10 }), undefined);
    const compose = (number: string) => ({
      'com.docker.compose.project': 'shop',
      'com.docker.compose.service': 'web',
      'com.docker.compose.container-number': number,
    });
    const replica = (Labels: object, Image = 'web:1') => JSON.stringify(trafficOf({}, { Labels, Image }));
    assert.match(replica(compose('1')), /replica.*shop.*web.*1.*web:1/);
    assert.equal(new Set([replica(compose('1')), replica(compose('2')), replica(compose('1'), 'web:2')]).size, 3);
    const task = (id: string) => ({ 'com.docker.swarm.task.name': `web.1.${id}` });
    assert.equal(replica(task('a')), replica(task('b')));
  });

  test('its labels have wishes of traffic, and a wrong one is refused', () => {
    const whole = document({});
    const labelled = (Labels: object) => read({ ...whole, Config: { ...whole.Config, Labels } });
    const good = labelled({ 'discover.health': 'ignore', 'discover.drain': 'False' });
    assert.deepEqual(good.kind === 'running' && good.traffic?.wishes, { health: 'ignore', drain: false });
    const bad = labelled({ 'discover.health': 'maybe', 'discover.drain': '1' });
    assert.equal(bad.kind === 'running' && bad.traffic?.wishes, undefined);
    assert.deepEqual(bad.kind === 'running' && bad.refusals.map(({ code, detail }) => [code, detail]), [
      ['label-invalid', 'The label is exclude-unhealthy or ignore or require-healthy'],
      ['label-invalid', 'The label is true or false'],
    ]);
  });

  test('a document without a Running flag is a failed look, never an absence', () => {
    const flags = [undefined, null, 'true', 1].map((Running) => ({ State: { Running } }));
    for (const value of [undefined, null, 1, 'x', true, [], {}, { State: null }, { State: [] }, ...flags]) {
      const inspection = read(value);
      assert.equal(inspection.kind, 'failed', JSON.stringify(value));
      assert.match(inspection.kind === 'failed' ? inspection.detail : '', /State\.Running/);
    }
    assert.equal(read({ message: 'No such container: x' }).kind, 'failed');
  });

  test('a container that is stopped, restarting or dead is down', () => {
    assert.deepEqual(read(document({ state: { Running: false } })), { kind: 'down' });
    assert.deepEqual(read(document({ state: { Restarting: true } })), { kind: 'down' });
    assert.deepEqual(read(document({ state: { Dead: true } })), { kind: 'down' });
    assert.deepEqual(read({ State: { Running: false } }), { kind: 'down' });
  });

  test('a missing Restarting or Dead flag means false', () => {
    assert.equal(read({ State: { Running: true } }).kind, 'running');
  });

  test('a paused container stays published', () => {
    assert.deepEqual(running(document({ state: { Paused: true, Status: 'paused' } })).services, [WEB]);
  });

  test('API 1.52 without top-level addresses reads the same', () => {
    const { Ports, Networks } = document().NetworkSettings;
    assert.deepEqual(read({ ...document(), NetworkSettings: { Ports, Networks } }), read(document()));
  });

  test('Podman leaves the address of a wildcard empty and writes the time with an offset', () => {
    const podman = document({
      state: { StartedAt: '2026-03-01T11:20:30.123456789+01:00', OciVersion: '1.2.0' },
      ports: { '80/tcp': [{ HostIp: '', HostPort: '32768' }] },
    });
    assert.deepEqual(read(podman), read(document()));
  });

  test('Podman shows the ports of a network that the container has left, and they are not published', () => {
    const bridged = (Networks: unknown, NetworkMode = 'bridge') => ({
      ...document({ host: { NetworkMode, PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '32768' }] } } }),
      NetworkSettings: { Ports: document().NetworkSettings.Ports, Networks },
    });
    const codesOf = (value: unknown) => running(value).refusals.map(({ code }) => code);
    assert.deepEqual(codesOf(bridged({})), ['not-bound']);
    assert.deepEqual(running(bridged({})).services, []);
    assert.deepEqual(running(bridged({ podman: {} })).services, [WEB]);
    // A user's own Podman has a network without a name, and its ports are open.
    for (const mode of ['slirp4netns', 'pasta']) assert.deepEqual(running(bridged({}, mode)).services, [WEB], mode);
    // A document that does not tell of networks does not tell that there is none.
    assert.deepEqual(running(bridged(undefined)).services, [WEB]);
  });

  test('no environment, or one of another shape, offers nothing', () => {
    for (const env of [null, undefined, 'DISCOVER=web:80', {}, [], [null, 1, {}, ['DISCOVER=web:80']]]) {
      assert.deepEqual(running(document({ env })).services, [], JSON.stringify(env));
    }
    assert.deepEqual(running(document({ env: [null, 'DISCOVER=web:80', 7] })).services, [WEB]);
  });

  test('the variable and the name policy are those of the options', () => {
    const options = { ...OPTIONS, serviceVariable: 'OFFERS', namePolicy: 'encode' } as const;
    const inspection = readInspection(document({ env: ['DISCOVER=web:80', 'OFFERS=my web:80'] }), options);
    assert.ok(inspection.kind === 'running');
    assert.deepEqual(inspection.services, [{ ...WEB, name: 'my%20web' }]);
  });

  test('one name on two ports is two services in the order advertised, and a repeated entry is one', () => {
    const bindings = [{ HostIp: '0.0.0.0', HostPort: '32768' }];
    const ports = { '443/tcp': bindings, '80/tcp': bindings };
    const { services } = running(document({ env: ['DISCOVER=web:443,web:80,web:443'], ports }));
    assert.deepEqual(services, [{ ...WEB, privatePort: 443 }, WEB]);
  });

  test('every name of Object.prototype is a service like any other', () => {
    const names = Object.getOwnPropertyNames(Object.prototype);
    const { services } = running(document({ env: [`DISCOVER=${names.map((name) => `${name}:80`).join()}`] }));
    assert.deepEqual(
      services.map((service) => service.name),
      names,
    );
    assert.ok(names.includes('__proto__'));
  });

  test('the host network publishes the advertised port', () => {
    const { services } = running(document({ host: { NetworkMode: 'host' }, ports: {} }));
    assert.deepEqual(services, [{ ...WEB, port: 80 }]);
  });

  test('refusals of the advertisement come before those of the addresses, and siblings live', () => {
    const { services, refusals } = running(document({ env: ['DISCOVER=api:8080,a/b:80,web:80,x'] }));
    assert.deepEqual(services, [WEB]);
    assert.deepEqual(
      refusals.map(({ code, entry }) => [code, entry]),
      [
        ['name-invalid', 'a/b:80'],
        ['port-invalid', 'x'],
        ['not-published', 'api:8080/tcp'],
      ],
    );
  });

  test('a running container without ports is refused, not failed', () => {
    for (const value of [
      document({ ports: {} }),
      document({ ports: null }),
      { ...document(), NetworkSettings: null },
    ]) {
      assert.deepEqual(
        running(value).refusals.map(({ code }) => code),
        ['not-published'],
      );
    }
  });
});

describe('the start time', () => {
  const startedAt = (StartedAt: unknown) => running(document({ state: { StartedAt } })).startedAt;
  const second = Date.UTC(2026, 2, 1, 10, 20, 30) * 1e6;

  test('keeps up to nine digits of the second', () => {
    assert.equal(startedAt('2026-03-01T10:20:30Z'), second);
    assert.equal(startedAt('2026-03-01T10:20:30.5Z'), second + 500_000_000);
    assert.equal(startedAt('2026-03-01T10:20:30.000001Z'), second + 1_000);
    assert.equal(startedAt('2026-03-01T10:20:30.999999999Z'), second + 999_999_999);
  });

  test('orders two starts that a millisecond does not tell apart', () => {
    assert.ok(startedAt('2026-03-01T10:20:30.123456789Z') < startedAt('2026-03-01T10:20:30.123457789Z'));
  });

  test('is the nearest double to the exact nanosecond', () => {
    const exact = BigInt(Date.UTC(2026, 2, 1, 10, 20, 30)) * 1_000_000n;
    for (const fraction of ['000000001', '123456789', '987654321', '999999999']) {
      assert.equal(startedAt(`2026-03-01T10:20:30.${fraction}Z`), Number(exact + BigInt(fraction)), fraction);
    }
  });

  test('follows the offset of the zone', () => {
    assert.equal(startedAt('2026-03-01T05:50:30.25-04:30'), second + 250_000_000);
  });

  test('is 0 for the year 1 and for what is no time', () => {
    const none = [
      '0001-01-01T00:00:00Z',
      '',
      'yesterday',
      '2026-03-01',
      '2026-13-01T00:00:00Z',
      undefined,
      null,
      5,
      {},
    ];
    for (const time of none) assert.equal(startedAt(time), 0, JSON.stringify(time));
    assert.equal(startedAt('2026-03-01T10:20:30.1234567890Z'), 0);
    assert.equal(startedAt('x2026-03-01T10:20:30Z'), 0);
    assert.equal(startedAt('2026-03-01T10:20:30Z\n'), 0);
  });
});

describe('attributes', () => {
  test('of the host are those of each instance, and its own count before them', () => {
    const hostAttributes = { weight: 5, tags: ['a'], others: { region: 'eu', version: '1' } };
    const Labels = { discover: 'web:80', 'discover.web.version': '2', 'discover.web.weight': '9' };
    const inspection = readInspection({ ...document(), Config: { Labels } }, { ...OPTIONS, hostAttributes, zone: 'z' });
    assert.ok(inspection.kind === 'running');
    const [web] = inspection.services;
    assert.deepEqual(web?.attributes, { weight: 9, tags: ['a'], others: { region: 'eu', version: '2' } });
    const meta = { privatePort: 80, weight: 9, tags: ['a'], attributes: { region: 'eu', version: '2' }, zone: 'z' };
    assert.deepEqual(JSON.parse(web?.meta ?? ''), meta);
  });

  test('attributes that do not fit into the transaction of the container are refused, and the services stay', () => {
    const names = Array.from({ length: 100 }, (_, index) => `s${index}`);
    const Labels = {
      discover: names.map((name) => `${name}:80`).join(),
      ...Object.fromEntries(names.map((name) => [`discover.${name}.weight`, '1'])),
    };
    const weighed = { ...document(), Config: { Labels } };
    const metas = (options: Partial<InspectionOptions>) => {
      const inspection = readInspection(weighed, { ...OPTIONS, ...options });
      assert.ok(inspection.kind === 'running');
      const { services, refusals } = inspection;
      return [services.length, services.filter(({ meta }) => meta !== undefined).length, refusals.length];
    };
    // 127 operations of one transaction: the record, 100 services, and 26 metas.
    assert.deepEqual(metas({}), [100, 26, 1]);
    assert.deepEqual(metas({ meta: 'never' }), [100, 0, 0]);
    assert.deepEqual(metas({ entriesMax: 42, keysPerInstance: 2, keysPerWeight: 1 }), [42, 21, 23]);
  });
});

test('a container without labels has the keys, the values and the bytes of a commit that it always had', () => {
  const inspection = running({ ...document(), Name: '/web-1' });
  for (const services of [inspection.services, running(document()).services]) {
    assert.deepEqual(services, [WEB]);
    const keys = keysOf(layoutOf('/discover', 'default', 'h1'), 'aaaaaaaaaaaa', services, inspection.names);
    const service = '/discover/service/web/default/h1/aaaaaaaaaaaa';
    assert.deepEqual(
      [...keys],
      [
        [service, 'tcp://10.1.2.3:32768'],
        ['/discover/host/h1/aaaaaaaaaaaa', `{"web":"${service}"}`],
      ],
    );
    const changes = [...keys].map(([key, value]) => ({ key, value }));
    assert.equal(encodeTxn('/discover/owner/h1', revisionOf('7'), leaseIdOf('1'), changes).length, 196);
  }
});

describe('the names', () => {
  const compose = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' };
  const namesOf = (more: object, Config: object = {}) =>
    running({ ...document(), ...more, Config: { Env: ['DISCOVER=web:80'], ...Config } }).names;

  test('are those of the engine, the image and compose, where there are any', () => {
    assert.deepEqual(namesOf({ Name: '/shop-web-1' }, { Image: 'nginx:1.27', Labels: compose }), {
      ...{ name: 'shop-web-1', image: 'nginx:1.27', compose: { project: 'shop', service: 'web' } },
    });
    assert.equal(namesOf({ Name: 7 }, { Image: '', Labels: [] }), undefined);
    assert.deepEqual(namesOf({}, { Labels: { 'com.docker.compose.project': 'shop' } }), {
      compose: { project: 'shop' },
    });
  });

  test('are cut, and hold nothing that steers a reader', () => {
    const hostile = `\u001b[2J\u202e\n${'x'.repeat(1000)}`;
    const names = namesOf({ Name: hostile }, { Image: hostile, Labels: { 'com.docker.compose.service': hostile } });
    for (const text of [names?.name, names?.image, names?.compose?.service]) {
      assert.equal(text, `\ufffd[2J\ufffd\ufffd${'x'.repeat(255 - 6)}`);
    }
  });

  test('are not carried of a container that says nothing', () => {
    assert.equal('names' in running({ ...document(), Name: '/db', Config: { Image: 'postgres' } }), false);
    assert.equal(running({ ...document(), Name: '/db', Config: { Labels: { 'discover.x': '' } } }).names?.name, 'db');
  });
});

describe('of two families', () => {
  const both = [
    { HostIp: '0.0.0.0', HostPort: '32768' },
    { HostIp: '::', HostPort: '32767' },
  ];
  const servicesOf = (ports: unknown, options: Partial<InspectionOptions>) => {
    const inspection = readInspection(document({ ports: { '80/tcp': ports } }), { ...OPTIONS, ...options });
    return inspection.kind === 'running' ? inspection.services : inspection;
  };

  test('a second instance is made where it is asked for, at the port of its own family', () => {
    const options = { hostIp6: '2001:db8::1', address: { from: 'published', families: 'both' } } as const;
    assert.deepEqual(servicesOf(both, options), [{ ...WEB, other: { address: '2001:db8::1', port: 32_767 } }]);
    assert.deepEqual(servicesOf(both, { ...options, hostIp6: undefined }), [WEB]);
    assert.deepEqual(servicesOf(both.slice(0, 1), options), [WEB]);
    const own = servicesOf(null, { ...options, address: { from: 'container', families: 'both' } });
    assert.deepEqual(own, [{ ...WEB, address: '172.17.0.2', port: 80 }]);
  });

  test('else the address is there for views, where it has the same port', () => {
    const options = { hostIp6: '2001:db8::1' };
    assert.deepEqual(servicesOf(both, options), [WEB]);
    const same = both.map((binding) => ({ ...binding, HostPort: '32768' }));
    const [service] = servicesOf(same, options) as readonly Service[];
    assert.deepEqual(service, { ...WEB, ip6: '2001:db8::1' });
    const [view] = viewsOf([{ key: '/b/{{name}}/{{index}}', value: '{{ip}} {{ip6}}:{{port}}' }], 'r', 'h');
    const shown = (one: Service) => view?.entryOf(one, '', '0123456789ab', 0)?.[1];
    assert.equal(shown(service as Service), '10.1.2.3 2001:db8::1:32768');
    assert.equal(
      shown({ ...WEB, other: { address: '2001:db8::1', port: 32_768 } } as Service),
      '10.1.2.3 2001:db8::1:32768',
    );
    assert.equal(shown({ ...WEB, other: { address: '2001:db8::1', port: 1 } } as Service), '10.1.2.3 :32768');
    assert.equal(shown({ ...WEB, address: '2001:db8::9' } as Service), '2001:db8::9 2001:db8::9:32768');
  });

  test('both keys of each entry, and the meta of both, fit into one transaction', () => {
    const Env = [`DISCOVER=${Array.from({ length: 100 }, (_, index) => `web:${80 + index}`).join()}`];
    const Ports = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`${80 + index}/tcp`, both]));
    const whole = { ...document(), Config: { Env }, NetworkSettings: { Ports } };
    const inspection = readInspection(whole, {
      ...{ ...OPTIONS, hostIp6: '2001:db8::1', address: { from: 'published', families: 'both' }, meta: 'always' },
      ...{ entriesMax: Math.floor(126 / 4), keysPerInstance: 2 },
    });
    const services = inspection.kind === 'running' ? inspection.services : [];
    assert.equal(services.length, 31);
    const keys = keysOf(layoutOf('/discover', 'default', 'host-1'), '0123456789ab', services);
    assert.equal(keys.size, 31 * 4 + 1);
  });
});

describe('the recorded documents', () => {
  const fixtures = new URL('../fixtures/', import.meta.url);
  const engines = readdirSync(fixtures).filter((name) => /^(dockerd|podman)-/.test(name));
  /** What a state comes to: `down`, the ports that are reached, or the reasons against it. */
  const outcomes: Readonly<Record<string, string>> = {
    ...{ running: 'web:8080', restarted: 'web:8080', paused: 'web:8080', reconnected: 'web:8080' },
    ...{ created: 'down', stopped: 'down', restarting: 'down', disconnected: 'not-bound' },
    ...{ 'host-network': 'web:8080', 'no-network': 'no-network', 'container-network': 'shared-network' },
    // Podman says of a container in a pod what is true of the pod.
    ...{ 'user-network': 'web:9000', pod: 'web:80' },
  };
  // The first recordings have no advertisement there.
  const silent = { 'dockerd-20.10.24': ['host-network', 'no-network', 'container-network', 'user-network'] };

  test('are of three engines at least beside the first', () => assert.ok(engines.length >= 4, engines.join(', ')));

  for (const engine of engines) {
    const names = readdirSync(new URL(`${engine}/`, fixtures)).flatMap(
      (file) => /^inspect-(.*)\.json$/.exec(file)?.[1] ?? [],
    );
    for (const name of names) {
      test(`of ${engine}, ${name}, say what is so`, () => {
        const text = readFileSync(new URL(`${engine}/inspect-${name}.json`, fixtures), 'utf8');
        const document = JSON.parse(text) as {
          State: { StartedAt: string };
          HostConfig: { NetworkMode: string };
          NetworkSettings: { Ports: Record<string, { HostPort: string }[] | null> };
        };
        const inspection = read(document);
        if (outcomes[name] === 'down') {
          assert.equal(inspection.kind, 'down');
          return;
        }
        assert.ok(inspection.kind === 'running');
        assert.equal(Math.floor(inspection.startedAt / 1e9), Math.floor(Date.parse(document.State.StartedAt) / 1000));
        const isSilent = Object.entries(silent).some(([one, states]) => one === engine && states.includes(name));
        const told = [
          ...inspection.services.map((service) => `${service.name}:${service.privatePort}`),
          ...inspection.refusals.map(({ code }) => code),
        ];
        assert.deepEqual(told, isSilent ? [] : [outcomes[name]]);
        for (const { privatePort, port, address } of inspection.services) {
          assert.equal(address, OPTIONS.hostIp);
          const bound = document.NetworkSettings.Ports[`${privatePort}/tcp`]?.[0]?.HostPort ?? privatePort;
          assert.equal(port, Number(bound));
        }
      });
    }
  }
});
