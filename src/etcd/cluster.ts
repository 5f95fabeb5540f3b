/**
 * The registry over etcd v3: the agent's calls.
 *
 * `members.ts` chooses the member for each call and decides on a second try. etcd3 makes every call except commits.
 */

import { isUtf8 } from 'node:buffer';
import type { Change } from '../layout/keys.ts';
import type { EtcdAccess } from './access.ts';
import { callTimeoutMs, type Etcd3, type ICompare, type IRequestOp } from './member.ts';
import { firstMember, Members } from './members.ts';
import { AnswerSize, below, type KeyRange, pageKeys, readPage, readPages } from './pages.ts';
import { EtcdReader } from './reader.ts';
import {
  type Fleet,
  type FoundKey,
  type KeyPage,
  type KeyReader,
  type KeyRevision,
  type LeaseId,
  type LeaseState,
  leaseIdOf,
  noLease,
  type OwnerKey,
  type Ownership,
  operationsMax,
  type Registry,
  type Revision,
  revisionOf,
} from './registry.ts';
import { decodeSucceeded, encodeTxn } from './txn-message.ts';

export { firstMember } from './members.ts';

/**
 * Between two looks at a watch that is mostly silent. A connection that is cut is found by its own pings, and a member that
 * does not answer by the renewals of the lease, so a watch for people's keys costs a few bytes a minute.
 */
const quietTickMs = 10_000;

export class EtcdRegistry implements Registry, Fleet, KeyReader {
  readonly #members: Members;
  readonly #reader: EtcdReader;

  /** `host`: the host that makes the calls; the hosts of a fleet share the members by their names. */
  constructor(access: EtcdAccess, host = '') {
    this.#members = new Members(access, firstMember(host, access.endpoints.length));
    this.#reader = new EtcdReader(this.#members, quietTickMs);
  }

  async owner(ownerKey: string): Promise<OwnerKey | undefined> {
    const response = await this.#ask('range', ({ kv }) => kv.range({ key: Buffer.from(ownerKey) }));
    const found = response.kvs[0];
    return (
      found && {
        value: found.value.toString(),
        lease: leaseIdOf(found.lease),
        revision: revisionOf(found.mod_revision),
      }
    );
  }

  async grant(ttlSeconds: number): Promise<LeaseId> {
    const response = await this.#tell('lease grant', ({ leaseClient }) => leaseClient.leaseGrant({ TTL: ttlSeconds }));
    return leaseIdOf(response.ID);
  }

  keepAlive(lease: LeaseId): Promise<number> {
    const renew = async ({ leaseClient }: Etcd3): Promise<number> => {
      const stream = await leaseClient.leaseKeepAlive();
      let timer: NodeJS.Timeout | undefined;
      try {
        return await new Promise<number>((resolve, reject) => {
          timer = setTimeout(() => reject(new Error('no answer in time')), callTimeoutMs);
          stream.on('data', (response) => resolve(Number(response.TTL)));
          stream.on('error', reject);
          stream.on('end', () => reject(new Error('stream ended')));
          stream.write({ ID: lease });
        });
      } finally {
        clearTimeout(timer);
        // Ended first: etcd3 takes an error of a writable stream for the member's, and drops the connection.
        stream.end();
        stream.cancel();
      }
    };
    return this.#members.tell((member) => member.call('lease keep-alive', renew, { isOpen: true }));
  }

  async lease(lease: LeaseId, withKeys: boolean): Promise<LeaseState> {
    const response = await this.#ask('lease time-to-live', ({ leaseClient }) =>
      leaseClient.leaseTimeToLive({ ID: lease, keys: withKeys }),
    );
    return {
      ttlSeconds: Number(response.TTL),
      grantedTtlSeconds: Number(response.grantedTTL),
      keys: response.keys.map(String),
    };
  }

  async claim(ownerKey: string, value: string, lease: LeaseId, expected: Revision): Promise<Ownership | undefined> {
    const response = await this.#txn([unchanged(ownerKey, expected)], [put(ownerKey, value, lease)]);
    return response.succeeded ? { lease, revision: revisionOf(response.header.revision) } : undefined;
  }

  async readPrefix(prefix: string): Promise<FoundKey[]> {
    const result: FoundKey[] = [];
    await readPages(this.#members, prefix, (pairs) => {
      for (const pair of pairs) result.push(found(pair));
    });
    return result;
  }

  async readPage(prefix: string, after: string): Promise<KeyPage> {
    const { kvs, more } = await new AnswerSize(pageKeys).fitting((limit) =>
      this.#members.ask((member) => readPage(member, prefix, { after, keysOnly: true, limit })),
    );
    return { keys: kvs.map(({ key }) => key.toString()), hasMore: more };
  }

  async readKeys(keys: readonly string[]): Promise<FoundKey[]> {
    const result: FoundKey[] = [];
    const size = new AnswerSize(operationsMax);
    for (let start = 0; start < keys.length; ) {
      const ranges = keys.slice(start, start + operationsMax).map((key) => ({
        // ';' follows ':' in ASCII, so the range ends behind `<key>:…`.
        request_range: { key: Buffer.from(key), range_end: Buffer.from(`${key};`) },
      }));
      const { responses } = await size.fitting((keysMax) => {
        const request = { compare: [], success: ranges.slice(0, keysMax), failure: [] };
        return this.#ask('txn', ({ kv }) => kv.txn(request));
      });
      for (const { response_range: range } of responses) {
        for (const kv of range?.kvs ?? []) result.push(found(kv));
      }
      start += responses.length;
    }
    return result;
  }

  async commit(ownerKey: string, ownership: Ownership, changes: readonly Change[]): Promise<boolean> {
    const message = encodeTxn(ownerKey, ownership.revision, ownership.lease, changes);
    return decodeSucceeded(await this.#members.tell((member) => member.commit(message)));
  }

  async keyRevisions(prefix: string): Promise<KeyRevision[]> {
    const result: KeyRevision[] = [];
    const take: Parameters<typeof readPages>[2] = (pairs) => {
      for (const { key, lease, mod_revision } of pairs) {
        // A key that is not UTF-8 would become another key as a string.
        if (!isUtf8(key)) continue;
        result.push({ key: key.toString(), lease: leaseIdOf(lease), revision: revisionOf(mod_revision) });
      }
    };
    await readPages(this.#members, prefix, take, { keysOnly: true });
    return result;
  }

  async removeIf(
    unchangedKeys: readonly Pick<KeyRevision, 'key' | 'revision'>[],
    keys: readonly string[],
  ): Promise<boolean> {
    const { succeeded } = await this.#txn(
      unchangedKeys.map(({ key, revision }) => unchanged(key, revision)),
      keys.map((key) => ({ request_delete_range: { key: Buffer.from(key) } })),
    );
    return succeeded;
  }

  /** Writes a key on no lease, for people. */
  async put(key: string, value: string): Promise<void> {
    await this.#txn([], [put(key, value, noLease)]);
  }

  readBoth(key: string, take: (found: Change) => void): Promise<Revision> {
    return this.#reader.read(both(key), (part) => part.forEach(take));
  }

  watchBoth(
    key: string,
    revision: Revision,
    changed: (changes: readonly Change[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#reader.watch(both(key), revision, { heard() {}, begun() {}, changed }, signal);
  }

  async putIf(
    unchangedKeys: readonly Pick<KeyRevision, 'key' | 'revision'>[],
    changes: readonly Change[],
    lease: LeaseId,
  ): Promise<boolean> {
    const { succeeded } = await this.#txn(
      unchangedKeys.map(({ key, revision }) => unchanged(key, revision)),
      changes.map(({ key, value = '' }) => put(key, value, lease)),
    );
    return succeeded;
  }

  async revoke(lease: LeaseId): Promise<void> {
    await this.#tell('lease revoke', ({ leaseClient }) => leaseClient.leaseRevoke({ ID: lease }));
  }

  close(): void {
    this.#members.close();
  }

  #txn(compare: ICompare[], success: IRequestOp[]) {
    return this.#tell('txn', ({ kv }) => kv.txn({ compare, success, failure: [] }));
  }

  #ask<Result>(name: string, question: (etcd: Etcd3) => Promise<Result>): Promise<Result> {
    return this.#members.ask((member) => member.call(name, question));
  }

  #tell<Result>(name: string, request: (etcd: Etcd3) => Promise<Result>): Promise<Result> {
    return this.#members.tell((member) => member.call(name, request));
  }
}

/** '0' follows the slash. */
function both(key: string): readonly KeyRange[] {
  return [{ begin: Buffer.from(key), end: Buffer.from(`${key}\0`) }, below(`${key}/`)];
}

function unchanged(key: string, revision: Revision): ICompare {
  return { key: Buffer.from(key), target: 'Mod', result: 'Equal', mod_revision: revision };
}

function put(key: string, value: string, lease: LeaseId): IRequestOp {
  return { request_put: { key: Buffer.from(key), value: Buffer.from(value), lease } };
}

function found(kv: { key: Buffer; value: Buffer; lease: string }): FoundKey {
  return { key: kv.key.toString(), value: kv.value.toString(), lease: leaseIdOf(kv.lease) };
}
