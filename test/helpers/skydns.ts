/**
 * A small DNS server that answers from the keys of SkyDNS by the rules of CoreDNS's etcd plugin: a name is a path, all
 * keys below it are its records, the target of an SRV record is the name of its key, a priority that is absent or 0 is 10,
 * a weight 100, and the weights of one priority are scaled to a sum of 100, rounded down, at least 1.
 *
 * It answers SRV, with the addresses of the targets beside, and A. The zone is whatever is asked for.
 */
import dgram from 'node:dgram';
import type { AddressInfo } from 'node:net';
import type { EtcdServer } from './etcd.ts';

export interface Srv {
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
  readonly ip: string;
}

export interface SkyDns extends AsyncDisposable {
  readonly port: number;
  /** The records of a name, as they are answered. */
  records(name: string): Promise<Srv[]>;
}

export interface SkyDnsOptions {
  /** Weights as they are in etcd, as no CoreDNS gives them. */
  readonly isUnscaled?: boolean;
}

const types = { a: 1, srv: 33 } as const;

export async function startSkyDns(etcd: EtcdServer, { isUnscaled = false }: SkyDnsOptions = {}): Promise<SkyDns> {
  const socket = dgram.createSocket('udp4');
  const records = async (name: string): Promise<Srv[]> => {
    const path = `/skydns/${name.toLowerCase().split('.').reverse().join('/')}`;
    const below = await etcd.get(`${path}/`);
    const exact = below.size > 0 ? below : new Map([...(await etcd.get(path))].filter(([key]) => key === path));
    const found = [...exact].map(([key, text]) => {
      const written = JSON.parse(text) as Written;
      // To the plugin 0 is the same as absent.
      return { key, ...written, priority: written.priority || 10, weight: written.weight || 100 };
    });
    const sums = new Map<number, number>();
    for (const { priority, weight } of found) sums.set(priority, (sums.get(priority) ?? 0) + weight);
    return found.map(({ key, host, port, priority, weight }) => ({
      target: key.split('/').slice(2).reverse().join('.'),
      ...{ port, priority, ip: host },
      weight: isUnscaled ? weight : Math.max(1, Math.floor((100 / (sums.get(priority) ?? 1)) * weight)),
    }));
  };
  socket.on('message', (query, from) => {
    void answerTo(query, records).then(
      (answer) => socket.send(answer, from.port, from.address),
      () => {}, // etcd is gone with the test.
    );
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    port: (socket.address() as AddressInfo).port,
    records,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

interface Written {
  readonly host: string;
  readonly port: number;
  readonly priority?: number;
  readonly weight?: number;
}

async function answerTo(query: Buffer, records: SkyDns['records']): Promise<Buffer> {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = query.subarray(12, at + 5);
  const type = query.readUInt16BE(at + 1);
  const name = labels.join('.');
  const found = type === types.srv || type === types.a ? await records(name) : [];
  const addresses = [...new Set(found.map(({ ip }) => ip))];
  const answers =
    type === types.srv
      ? found.map(({ priority, weight, port, target }) =>
          record(name, types.srv, Buffer.concat([uint16(priority, weight, port), nameOf(target)])),
        )
      : addresses.map((ip) => record(name, types.a, addressOf(ip)));
  const beside = type === types.srv ? found.map(({ target, ip }) => record(target, types.a, addressOf(ip))) : [];
  const nameError = found.length === 0 ? 3 : 0;
  const flags = 0x8400 | (query.readUInt16BE(2) & 0x0100) | nameError;
  const head = uint16(query.readUInt16BE(0), flags, 1, answers.length, 0, beside.length);
  return Buffer.concat([head, question, ...answers, ...beside]);
}

const record = (name: string, type: number, data: Buffer): Buffer =>
  Buffer.concat([nameOf(name), uint16(type, 1, 0, 1, data.length), data]);
const addressOf = (ip: string): Buffer => Buffer.from(ip.split('.').map(Number));
const nameOf = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]),
    Buffer.from([0]),
  ]);

function uint16(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(2 * numbers.length);
  for (const [index, number] of numbers.entries()) bytes.writeUInt16BE(number, 2 * index);
  return bytes;
}
