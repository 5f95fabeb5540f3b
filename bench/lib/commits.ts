/** Commits at a rate through one client; a process of its own, started by `transport.bench.ts`. Its argument is a task in JSON. */
import { GrpcCaller } from '../../src/etcd/commit-call.ts';
import { callTimeoutMs, Member } from '../../src/etcd/member.ts';
import { type LeaseId, leaseIdOf, type Revision, revisionOf } from '../../src/etcd/registry.ts';
import { decodeSucceeded, encodeTxn } from '../../src/etcd/txn-message.ts';
import { NodeHttp2Client } from '../../test/helpers/node-http2.ts';
import { percentile } from './measure.ts';

interface Task {
  readonly client: 'own' | 'node:http2' | 'etcd3';
  readonly rate: number;
  readonly seconds: number;
  readonly endpoint: string;
}
interface Change {
  readonly key: string;
  readonly value: string;
}
type Commit = (revision: Revision, lease: LeaseId, changes: readonly Change[]) => Promise<boolean>;

const { client, rate, seconds, endpoint } = JSON.parse(process.argv[2] ?? '') as Task;
const url = /^https?:/.test(endpoint) ? endpoint : `http://${endpoint}`;
const ownerKey = '/discover/owner/h1';
/** Long enough for the compiler to be done with what is called all the time. */
const warmUpSeconds = 3;

const { etcd } = new Member(endpoint, { endpoints: [endpoint] });

function commitBy(): { commit: Commit; close: () => void } {
  if (client === 'etcd3') {
    const commit: Commit = async (revision, lease, changes) => {
      const compare = [{ key: Buffer.from(ownerKey), target: 'Mod', result: 'Equal', mod_revision: revision } as const];
      const success = changes.map(({ key, value }) => ({
        request_put: { key: Buffer.from(key), value: Buffer.from(value), lease },
      }));
      return (await etcd.kv.txn({ compare: [...compare], success, failure: [] })).succeeded;
    };
    return { commit, close: () => {} };
  }
  const caller = new GrpcCaller(url, undefined, client === 'own' ? undefined : new NodeHttp2Client(url));
  const commit: Commit = async (revision, lease, changes) => {
    const message = encodeTxn(ownerKey, revision, lease, changes);
    return decodeSucceeded(await caller.call('/etcdserverpb.KV/Txn', message, callTimeoutMs, undefined));
  };
  return { commit, close: () => caller.close() };
}

/** One commit under way at a time, begun when it is due or as soon as the one before it is done. */
async function run(commit: Commit, revision: Revision, lease: LeaseId, forSeconds: number) {
  const latenciesMs: number[] = [];
  let failed = 0;
  const began = performance.now();
  // By the clock: a machine that is too slow for the rate makes fewer.
  for (let number = 0; performance.now() < began + forSeconds * 1000; number++) {
    const leftMs = began + (number * 1000) / rate - performance.now();
    if (leftMs > 0.5) await new Promise((resolve) => setTimeout(resolve, leftMs));
    const id = String(number % 500).padStart(12, '0');
    const changes = [
      { key: `/discover/service/web/default/h1/${id}`, value: `tcp://10.0.0.5:${30_000 + (number % 30_000)}` },
      { key: `/discover/host/h1/${id}`, value: JSON.stringify({ web: `/discover/service/web/default/h1/${id}` }) },
    ];
    const sentMs = performance.now();
    const isDone = await commit(revision, lease, changes).catch(() => false);
    if (isDone) latenciesMs.push(performance.now() - sentMs);
    else failed++;
  }
  return { latenciesMs, failed };
}

const lease = leaseIdOf((await etcd.leaseClient.leaseGrant({ TTL: 600 })).ID);
await etcd.kv.put({ key: Buffer.from(ownerKey), value: Buffer.from('me'), lease });
const { kvs } = await etcd.kv.range({ key: Buffer.from(ownerKey) });
const revision = revisionOf(kvs[0]?.mod_revision ?? '0');
const { commit, close } = commitBy();
await run(commit, revision, lease, warmUpSeconds);
const before = process.cpuUsage();
const { latenciesMs, failed } = await run(commit, revision, lease, seconds);
const { user, system } = process.cpuUsage(before);
const figures = {
  cpuMicrosEach: (user + system) / Math.max(1, latenciesMs.length),
  p50Ms: percentile(latenciesMs, 0.5),
  p99Ms: percentile(latenciesMs, 0.99),
  commits: latenciesMs.length,
  failed,
  exact: failed === 0 ? 'yes' : `${failed} failed`,
};
close();
etcd.close();
process.send?.(figures, () => process.exit(0));
