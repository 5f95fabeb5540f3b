/** The registry over etcd v3, by way of etcd3 and, for commits, a leaner call. */

import { isUtf8 } from 'node:buffer';
import type { Etcd3, ICompare, IRequestOp } from 'etcd3';
import { codeOf } from '../errors.ts';
import type { Change } from '../layout/keys.ts';
import { GrpcCaller } from './commit-call.ts';
import { after, callTimeoutMs, connectEtcd, type EtcdAccess, etcdError } from './connect.ts';
import {
  type Fleet,
  type FoundKey,
  type KeyRevision,
  type LeaseId,
  type LeaseState,
  leaseIdOf,
  type OwnerKey,
  type Ownership,
  operationsMax,
  type Registry,
  type Revision,
  revisionOf,
} from './registry.ts';
import { decodeSucceeded, encodeTxn } from './txn-message.ts';

/**
 * A login that was refused stands for those of the next seconds: for each one etcd computes a hash that is slow on
 * purpose, and a batch that is halved would ask for one after the other.
 */
const loginRetryMs = 4_000;
/** Names of keys in one answer: about a megabyte. */
const pageKeys = 10_000;

export class EtcdRegistry implements Registry, Fleet {
  /**
   * One client per endpoint: etcd3 would choose one at random for each call, so that with one of three
   * members down every third call fails. This stays with a member until a call fails, then moves on.
   */
  readonly #members: readonly Member[];
  #current: number;

  constructor(config: EtcdAccess, host = '') {
    this.#members = config.endpoints.map((endpoint) => new Member(endpoint, config));
    this.#current = firstMember(host, this.#members.length);
  }

  async owner(ownerKey: string): Promise<OwnerKey | undefined> {
    const response = await this.#ask('range', ({ etcd: { kv } }) => kv.range({ key: Buffer.from(ownerKey) }));
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
    const response = await this.#call('lease grant', ({ etcd: { leaseClient } }) =>
      leaseClient.leaseGrant({ TTL: ttlSeconds }),
    );
    return leaseIdOf(response.ID);
  }

  keepAlive(lease: LeaseId): Promise<number> {
    return this.#call('lease keep-alive', async ({ etcd: { leaseClient } }) => {
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
        // Ended first: etcd3 takes the error of a writable stream for the member's, and drops its connection.
        stream.end();
        stream.cancel();
      }
    });
  }

  async lease(lease: LeaseId, withKeys: boolean): Promise<LeaseState> {
    const response = await this.#ask('lease time-to-live', ({ etcd: { leaseClient } }) =>
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
    const key = Buffer.from(prefix);
    const response = await this.#ask('range', ({ etcd: { kv } }) => kv.range({ key, range_end: after(key) }));
    return response.kvs.map(found);
  }

  async readKeys(keys: readonly string[]): Promise<FoundKey[]> {
    const result: FoundKey[] = [];
    for (let start = 0; start < keys.length; start += operationsMax) {
      const ranges = keys.slice(start, start + operationsMax).map((key) => ({
        // ';' follows ':' in ASCII, so the range ends behind `<key>:…`.
        request_range: { key: Buffer.from(key), range_end: Buffer.from(`${key};`) },
      }));
      const request = { compare: [], success: ranges, failure: [] };
      const response = await this.#ask('txn', ({ etcd: { kv } }) => kv.txn(request));
      for (const { response_range: range } of response.responses) {
        for (const kv of range?.kvs ?? []) result.push(found(kv));
      }
    }
    return result;
  }

  async commit(ownerKey: string, ownership: Ownership, changes: readonly Change[]): Promise<boolean> {
    const message = encodeTxn(ownerKey, ownership.revision, ownership.lease, changes);
    return decodeSucceeded(await this.#call('txn', (member) => member.txn(message)));
  }

  async keyRevisions(prefix: string): Promise<KeyRevision[]> {
    const end = after(Buffer.from(prefix));
    const result: KeyRevision[] = [];
    for (let key = Buffer.from(prefix), isMore = true; isMore; ) {
      const request = { key, range_end: end, limit: pageKeys, keys_only: true };
      const { kvs, more } = await this.#ask('range', ({ etcd: { kv } }) => kv.range(request));
      for (const kv of kvs) {
        // A key that is no text would come out as another one.
        if (isUtf8(kv.key)) {
          result.push({
            key: kv.key.toString(),
            lease: leaseIdOf(kv.lease),
            revision: revisionOf(kv.mod_revision),
          });
        }
      }
      key = Buffer.concat([kvs.at(-1)?.key ?? end, Buffer.of(0)]);
      isMore = more;
    }
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

  async revoke(lease: LeaseId): Promise<void> {
    await this.#call('lease revoke', ({ etcd: { leaseClient } }) => leaseClient.leaseRevoke({ ID: lease }));
  }

  close(): void {
    for (const member of this.#members) member.close();
  }

  #txn(compare: ICompare[], success: IRequestOp[]) {
    return this.#call('txn', ({ etcd: { kv } }) => kv.txn({ compare, success, failure: [] }));
  }

  /** A question, of one member after the other until one answers: it does no harm to ask twice. */
  async #ask<Result>(name: string, request: (member: Member) => Promise<Result>): Promise<Result> {
    for (let left = this.#members.length - 1; ; left--) {
      try {
        return await this.#call(name, request);
      } catch (error) {
        if (left === 0 || codeOf(error) !== 'ETCD_UNAVAILABLE') throw error;
      }
    }
  }

  /** Of one member alone: what a call that failed has done is not known. The next one is of another member. */
  async #call<Result>(name: string, request: (member: Member) => Promise<Result>): Promise<Result> {
    const index = this.#current % this.#members.length;
    try {
      return await request(this.#members[index] as Member);
    } catch (error) {
      const failure = etcdError(name, error);
      if (failure.code === 'ETCD_UNAVAILABLE' && this.#current % this.#members.length === index) this.#current++;
      throw failure;
    }
  }
}

/** Which member is asked first follows from the name of the host, so that the hosts of a fleet share them out. */
export function firstMember(host: string, members: number): number {
  let hash = 0;
  for (const byte of Buffer.from(host)) hash = (hash * 31 + byte) % 0x1_0000_0000;
  return hash % members;
}

/** One member of the cluster: etcd3 for everything but commits. */
class Member {
  readonly etcd: Etcd3;
  readonly #caller: GrpcCaller;
  readonly #login: { readonly name: string; readonly password: string } | undefined;
  #token: string | undefined;
  #refusal: { readonly error: unknown; readonly at: number } | undefined;

  constructor(endpoint: string, config: EtcdAccess) {
    const { username, password, tls } = config;
    const isSecure = tls !== undefined || endpoint.startsWith('https:');
    this.etcd = connectEtcd(endpoint, config);
    this.#caller = new GrpcCaller(endpoint.replace(/^(https?:\/\/)?/, isSecure ? 'https://' : 'http://'), tls);
    this.#login = username === undefined ? undefined : { name: username, password: password ?? '' };
  }

  async txn(message: Buffer, isRetry = false): Promise<Buffer> {
    if (this.#login !== undefined) this.#token ??= await this.#logIn(this.#login);
    try {
      return await this.#caller.call('/etcdserverpb.KV/Txn', message, callTimeoutMs, this.#token);
    } catch (error) {
      // Tokens expire and do not outlive a restart of the member. Nothing was applied, so asking again is safe.
      const isStale = this.#token !== undefined && /invalid auth token/.test((error as Error).message);
      if (!isStale || isRetry) throw error;
      this.#token = undefined;
      return this.txn(message, true);
    }
  }

  async #logIn(login: { readonly name: string; readonly password: string }): Promise<string> {
    if (this.#refusal !== undefined && performance.now() - this.#refusal.at < loginRetryMs) throw this.#refusal.error;
    try {
      return (await this.etcd.auth.authenticate(login)).token;
    } catch (error) {
      if (etcdError('login', error).code === 'ETCD_REFUSED') this.#refusal = { error, at: performance.now() };
      throw error;
    }
  }

  close(): void {
    this.#caller.close();
    this.etcd.close();
  }
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
