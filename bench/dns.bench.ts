/**
 * dns: how many queries a second does one core answer over UDP, and how long does one take, for services with so many
 * instances?
 *
 * The listener is a process of its own with 1,000 services in memory and no limit of a client. This process keeps 32
 * queries on their way, each for another service; a query that is not answered within a second counts as lost.
 */
import { fork } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import packet from 'dns-packet';
import { typescript } from '../test/helpers/run.ts';
import type { Bench } from './lib/bench.ts';
import { type Figures, percentile } from './lib/measure.ts';

const onTheirWay = 32;
const lostMs = 1_000;
const services = 1_000;

interface Usage {
  readonly cpu: NodeJS.CpuUsage;
  readonly rssMb: number;
}

export const dns: Bench = {
  name: 'dns',
  named: true,
  question: 'how many queries a second are answered over UDP, and how long does one take?',
  axis: 'instances',
  points: [1, 20],
  seconds: 5,
  subjects: () => ['A', 'SRV'],
  columns: 'queriesPerSecond p50Ms p99Ms cpuMicrosEach lost rssMb',
  measure: async (type, instances, { seconds }) => {
    const file = fileURLToPath(new URL('./lib/dns-server.ts', import.meta.url));
    const child = fork(file, [JSON.stringify({ instances })], { execArgv: [...typescript], stdio: 'inherit' });
    try {
      const [{ port }] = (await once(child, 'message')) as [{ readonly port: number }];
      const usage = async (): Promise<Usage> => {
        child.send('usage');
        return ((await once(child, 'message')) as [Usage])[0];
      };
      await flood(port, type as 'A' | 'SRV', 1);
      const before = await usage();
      const { latenciesMs, lost, tookSeconds } = await flood(port, type as 'A' | 'SRV', seconds);
      const after = await usage();
      const cpuMicros = after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system;
      return {
        queriesPerSecond: latenciesMs.length / tookSeconds,
        p50Ms: percentile(latenciesMs, 0.5),
        p99Ms: percentile(latenciesMs, 0.99),
        cpuMicrosEach: cpuMicros / latenciesMs.length,
        lost,
        rssMb: after.rssMb,
      } satisfies Figures;
    } finally {
      child.disconnect();
    }
  },
};

async function flood(port: number, type: 'A' | 'SRV', seconds: number) {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  const queries = Array.from({ length: services }, (_, at) => {
    const service = type === 'SRV' ? `_service-${at}._tcp` : `service-${at}`;
    const name = `${service}.default.discover.internal`;
    const opt = { type: 'OPT', name: '.', udpPayloadSize: 8_192, flags: 0, options: [] } as unknown as packet.Answer;
    return packet.encode({ type: 'query', id: 0, questions: [{ name, type }], additionals: [opt] });
  });
  const sentMs = new Map<number, number>();
  const latenciesMs: number[] = [];
  let [id, lost] = [0, 0];
  const send = (): void => {
    id = (id + 1) % 65_536;
    const query = queries[id % services] as Buffer;
    query.writeUInt16BE(id, 0);
    sentMs.set(id, performance.now());
    socket.send(Buffer.from(query), port, '127.0.0.1');
  };
  socket.on('message', (bytes) => {
    const asked = bytes.readUInt16BE(0);
    const from = sentMs.get(asked);
    if (from === undefined) return;
    latenciesMs.push(performance.now() - from);
    sentMs.delete(asked);
    send();
  });
  const began = performance.now();
  for (let count = 0; count < onTheirWay; count++) send();
  while (performance.now() - began < seconds * 1_000) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const [asked, from] of sentMs) {
      if (performance.now() - from < lostMs) continue;
      sentMs.delete(asked);
      lost++;
      send();
    }
  }
  const tookSeconds = (performance.now() - began) / 1_000;
  socket.close();
  return { latenciesMs, lost, tookSeconds };
}
