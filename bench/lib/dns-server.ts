/** The listener of DNS over a fleet in memory; a process of its own, started by `dns.bench.ts`. Answers each message with its CPU and memory. */
import { Catalogue } from '../../src/client/catalogue.ts';
import { DnsListener, Resolver } from '../../src/dns/server.ts';

const { instances } = JSON.parse(process.argv[2] ?? '') as { instances: number };
const services = 1_000;

const catalogue = new Catalogue('/discover');
catalogue.begin();
for (let service = 0; service < services; service++) {
  for (let at = 0; at < instances; at++) {
    const id = (service * instances + at).toString(16).padStart(12, '0');
    const key = `/discover/service/service-${service}/default/h${at}/${id}`;
    catalogue.add([
      { key, value: `tcp://10.${at >> 8}.${at & 255}.${(service % 250) + 1}:${20_000 + (service % 10_000)}` },
    ]);
  }
}
catalogue.adopt();
const listener = await DnsListener.open({ host: '127.0.0.1', port: 0 });
const here = { host: 'h0', zone: undefined, ip: '10.0.0.1' };
const options = { zone: 'discover.internal', ttlSeconds: 5, rate: 0, here };
listener.serve(new Resolver({ catalogue, isStale: false }, options));
process.on('message', () => process.send?.({ cpu: process.cpuUsage(), rssMb: process.memoryUsage().rss / 1e6 }));
process.on('disconnect', () => process.exit());
process.send?.({ port: listener.port });
