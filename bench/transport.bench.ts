/**
 * transport: what does a commit cost through the HTTP/2 client of our own, through node:http2 and through etcd3, at so many
 * commits a second to a real etcd?
 *
 * One commit is under way at a time, as the writer has it: a put of a service and of a record, on a lease, if
 * the owner key is unchanged. A process for each measurement, three rounds in turns. `src/net/README.md` says
 * at what saving the client of our own is deleted.
 */
import { type EtcdServer, startEtcd } from '../test/helpers/etcd.ts';
import type { Bench } from './lib/bench.ts';
import { measureApart, savingsOf } from './lib/pairs.ts';

let etcd: EtcdServer | undefined;

export const transport: Bench = {
  name: 'transport',
  named: true,
  question: 'what does a commit cost through each of three clients, at so many a second?',
  axis: 'commits/s',
  points: [200, 500],
  seconds: 6,
  rounds: 3,
  subjects: () => ['own', 'node:http2', 'etcd3'],
  columns: 'cpuMicrosEach p50Ms p99Ms commits failed',
  measure: async (client, rate, { seconds }) => {
    etcd ??= await startEtcd();
    return measureApart('./commits.ts', { client, rate, seconds, endpoint: etcd.endpoint });
  },
  conclude: (rows) => ['node:http2', 'etcd3'].map((other) => savingsOf(rows, 'own', other, 'cpuMicrosEach')).join('\n'),
  finish: async () => {
    await etcd?.close();
    etcd = undefined;
  },
};
