/** Keys and values say all that was published: who reads them can tell name, container, port and address. */
import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Service, urlOf } from '../../src/container/container.ts';
import { readInspection } from '../../src/container/document.ts';
import { keysOf, layoutOf } from '../../src/layout/keys.ts';

const shortId = '0123456789ab';
const layout = layoutOf('/discover', 'default', 'host-1');
const name = fc.oneof(fc.constantFrom('web', 'api', '__proto__', '7'), fc.stringMatching(/^[A-Za-z0-9._~-]{1,128}$/));
const entry = fc.record({
  name: name.filter((text) => text !== '.' && text !== '..'),
  port: fc.integer({ min: 1, max: 65_535 }),
  protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
  hostIp: fc.oneof(fc.constantFrom('0.0.0.0', '::', '0::0', ''), fc.ipV4(), fc.ipV6()),
  hostPort: fc.integer({ min: 1, max: 65_535 }),
});
const entries = fc.uniqueArray(entry, { maxLength: 100, selector: ({ port, protocol }) => `${port}/${protocol}` });

function servicesOf(offered: readonly (typeof entry extends fc.Arbitrary<infer T> ? T : never)[], hostIp: string) {
  const Ports = Object.fromEntries(
    offered.map(({ port, protocol, hostIp, hostPort }) => [
      `${port}/${protocol}`,
      [{ HostIp: hostIp, HostPort: `${hostPort}` }],
    ]),
  );
  const Env = [`DISCOVER=${offered.map(({ name, port, protocol }) => `${name}:${port}/${protocol}`).join()}`];
  const document = { State: { Running: true }, Config: { Env }, NetworkSettings: { Ports } };
  const inspection = readInspection(document, { hostIp, serviceVariable: 'DISCOVER', namePolicy: 'compat' });
  assert.ok(inspection.kind === 'running');
  return inspection.services;
}

/** An address as it stands in a URL: one of IPv6 has many spellings. */
const hostOf = (address: string): string => (isIPv6(address) ? new URL(`http://[${address}]`).hostname : address);

test('a value is a URL with the protocol, the address and the port that it was made of', () => {
  fc.assert(
    fc.property(entry, fc.oneof(fc.ipV4(), fc.ipV6()), (offered, hostIp) => {
      const [service] = servicesOf([offered], hostIp);
      // Bound to an address that only this host knows, or to all addresses of the other family, it is not published.
      const isOtherWildcard =
        ['0.0.0.0', '[::]'].includes(hostOf(offered.hostIp)) && isIPv6(offered.hostIp) !== isIPv6(hostIp);
      if (service === undefined)
        return assert.ok(isOtherWildcard || /^127\.|^169\.254\.|:/.test(offered.hostIp), offered.hostIp);
      const { protocol, hostname, port } = new URL(urlOf(service));
      const bound = hostOf(offered.hostIp);
      assert.equal(protocol, `${offered.protocol}:`);
      assert.equal(port, `${offered.hostPort}`);
      assert.equal(hostname, ['0.0.0.0', '[::]', ''].includes(bound) ? hostOf(hostIp) : bound);
      assert.equal(urlOf(service), `${protocol}//${hostname}:${port}`);
    }),
    { numRuns: 1_000 },
  );
});

test('no key of a second address is that of another instance', () => {
  fc.assert(
    fc.property(entries, (offered) => {
      const other = { address: '2001:db8::5', port: 1 };
      const services = servicesOf(offered, '10.0.0.1').map((service) => ({ ...service, other, meta: '{}' }));
      const keys = [...keysOf(layout, shortId, services).keys()];
      assert.equal(keys.length, services.length * 4 + (services.length > 0 ? 1 : 0));
      assert.equal(keys.filter((key) => key.endsWith(':ip6')).length, services.length * 2);
    }),
    { numRuns: 100 },
  );
});

test('what was published can be told from its keys, each of which has one service', () => {
  fc.assert(
    fc.property(entries, (offered) => {
      const services = servicesOf(offered, '10.0.0.1');
      const keys = keysOf(layout, shortId, services);
      const record = JSON.parse(keys.get(layout.recordKey(shortId)) ?? '{}') as Record<string, string>;
      keys.delete(layout.recordKey(shortId));
      assert.equal(keys.size, services.length);
      const first = new Map<string, Service>();
      for (const service of services) if (!first.has(service.name)) first.set(service.name, service);
      assert.deepEqual(
        new Map(Object.entries(record)),
        new Map([...first.keys()].map((plain) => [plain, `/discover/service/${plain}/default/host-1/${shortId}`])),
      );
      const read = [...keys].map(([key, url]) => {
        assert.equal(layout.containerOf(key), shortId);
        const [, port, protocol] = /:(\d+)(?::([a-z]+))?$/.exec(key) ?? [];
        const plain = layout.nameOf(key) ?? '';
        // The plain key leaves its port to the first entry of the name.
        const { privatePort, protocol: ownProtocol } = first.get(plain) as Service;
        return port === undefined
          ? { name: plain, privatePort, protocol: ownProtocol, url }
          : { name: plain, privatePort: Number(port), protocol: protocol ?? 'tcp', url };
      });
      const published = services.map((one) => {
        return { name: one.name, privatePort: one.privatePort, protocol: one.protocol, url: urlOf(one) };
      });
      assert.deepEqual(read, published);
    }),
    { numRuns: 300 },
  );
});
