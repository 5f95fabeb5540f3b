/**
 * One member of the cluster: etcd3 for every call but commits, the lean client for those, one login for both.
 *
 * etcd3's own retries, breakers and logins are off. Its breaker would refuse every call for five seconds after
 * one failure. Its login knows only one of three forms of a stale token, and then repeats the call without end.
 * Here each form leads to a new login and a repeated call, a few times, which is safe: etcd has done nothing
 * yet. Each call has a deadline that depends on neither client.
 *
 * Each member has a client of its own, because etcd3 would choose a member at random for each call: with one
 * of three members down, every third call would fail.
 */

import { Etcd3 } from 'etcd3';
import { deadline, systemClock } from '../actor/clock.ts';
import { codeOf } from '../errors.ts';
import type { EtcdAccess } from './access.ts';
import { GrpcCaller } from './commit-call.ts';
import { etcdError, isStaleToken } from './errors.ts';
import { Login } from './login.ts';

export type { Etcd3, ICompare, IEvent, IRequestOp, IWatchResponse } from 'etcd3';

/** Above the wait for a leader election: about 2 s at etcd's defaults, and a call may have to wait for half of it. */
export const callTimeoutMs = 2_000;
/** A page of a large prefix may have megabytes. */
export const pageTimeoutMs = 5_000;
/** The time beyond the client's own deadline, after which a call is given up. */
const graceMs = 500;
/** If roles change all the time, a new token may be stale already. */
const loginsMax = 3;
/** A token younger than this was not refused for its age. */
const freshTokenMs = 5_000;

/** Neither retries nor breakers. */
const noPolicy = { execute: async <Result>(call: (context: object) => Result) => call({}) };

type Interceptor = NonNullable<NonNullable<Parameters<Etcd3['watchClient']['watch']>[0]>['interceptors']>[number];

export class Member {
  readonly endpoint: string;
  /** For calls that need no login, and for tests. */
  readonly etcd: Etcd3;
  readonly #commits: GrpcCaller;
  readonly #login: Login | undefined;

  constructor(endpoint: string, access: EtcdAccess) {
    const { username, password = '', tls } = access;
    const isSecure = tls !== undefined || endpoint.startsWith('https:');
    this.endpoint = endpoint.replace(/^(https?:\/\/)?/, isSecure ? 'https://' : 'http://');
    this.#commits = new GrpcCaller(this.endpoint, tls);
    this.etcd = createEtcd3(endpoint, access, [
      (options, next) => intercepted(next(options), () => this.#login?.lastToken),
    ]);
    if (username === undefined) return;
    this.#login = new Login(
      async () => (await this.etcd.auth.authenticate({ name: username, password })).token,
      (error) => codeOf(etcdError('login', this.endpoint, error)) === 'ETCD_REFUSED',
    );
  }

  /**
   * One answer to one request. Rejects only with a `DiscoverError`. `isOpen`: etcd needs no token for this call, so a
   * refused login does not prevent it.
   */
  call<Result>(
    name: string,
    request: (etcd: Etcd3) => Promise<Result>,
    { timeoutMs = callTimeoutMs, isOpen = false }: { readonly timeoutMs?: number; readonly isOpen?: boolean } = {},
  ): Promise<Result> {
    return this.#loggedIn(name, timeoutMs, isOpen, () => request(this.etcd));
  }

  /** A transaction in its wire format, and its answer. */
  commit(message: Buffer): Promise<Buffer> {
    return this.#loggedIn('txn', callTimeoutMs, false, (token) =>
      this.#commits.call('/etcdserverpb.KV/Txn', message, callTimeoutMs, token),
    );
  }

  /** A stream, which has no deadline: it lasts until `follow` settles. */
  async stream(name: string, follow: (etcd: Etcd3) => Promise<void>): Promise<void> {
    const token = await this.#token(name);
    try {
      await follow(this.etcd);
    } catch (error) {
      // For a watch with a stale token etcd 3.4 reports that permission is denied.
      const isOld = /permission denied/.test(String(error)) && (this.#login?.ageMs ?? 0) > freshTokenMs;
      if (isOld || isStaleToken(error)) this.#login?.forget(token);
      throw etcdError(name, this.endpoint, error);
    }
  }

  close(): void {
    this.#commits.close();
    this.etcd.close();
  }

  async #loggedIn<Result>(
    name: string,
    timeoutMs: number,
    isOpen: boolean,
    request: (token: string | undefined) => Promise<Result>,
  ): Promise<Result> {
    for (let logins = 1; ; logins++) {
      const old = isOpen && logins === 1 ? this.#login?.lastToken : undefined;
      const token = old ?? (await this.#token(name));
      try {
        return await this.#inTime(timeoutMs, request(token));
      } catch (error) {
        if (token === undefined || !isStaleToken(error) || logins === loginsMax) {
          throw etcdError(name, this.endpoint, error);
        }
        this.#login?.forget(token);
      }
    }
  }

  async #token(name: string): Promise<string | undefined> {
    try {
      return this.#login && (await this.#inTime(callTimeoutMs, this.#login.token()));
    } catch (error) {
      throw etcdError(`login for ${name}`, this.endpoint, error);
    }
  }

  /** The connection of commits may be the one that hangs: it is given up with the call. */
  #inTime<Result>(timeoutMs: number, work: Promise<Result>): Promise<Result> {
    return deadline(systemClock, timeoutMs + graceMs, work, () => {
      this.#commits.close();
      return new Error('no answer in time');
    });
  }
}

function createEtcd3(endpoint: string, { tls }: EtcdAccess, interceptors: Interceptor[]): Etcd3 {
  return new Etcd3({
    hosts: endpoint,
    ...(tls && {
      credentials: {
        ...(tls.ca && { rootCertificate: tls.ca }),
        ...(tls.key && { privateKey: tls.key }),
        ...(tls.cert && { certChain: tls.cert }),
      } as { rootCertificate: Buffer },
    }),
    // A fixed deadline would have passed by the second call.
    defaultCallOptions: (context) => ({
      ...(context.isStream ? {} : { deadline: Date.now() + callTimeoutMs }),
      // A login that carries a stale token would be refused.
      ...(context.service !== 'Auth' && { interceptors }),
    }),
    faultHandling: { host: () => noPolicy as never, global: noPolicy as never },
    grpcOptions: {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 3_000,
      // Ten thousand keys with long values are larger than gRPC's default of 4 MiB.
      'grpc.max_receive_message_length': 64 << 20,
      // As in etcdctl: the variable `http_proxy` is for the web.
      'grpc.enable_http_proxy': 0,
      // gRPC would ask DNS for TXT records of the member's name, as settings for its calls. Where DNS gives no answer, a command would
      // end 25 s after its output.
      'grpc.service_config_disable_resolution': 1,
    },
  });
}

/**
 * A call with the token, and with the condition that the member knows a leader: without a leader a watch would be
 * silent for ever. When etcd3 reads that a token is invalid, it repeats the call by itself, with the same token and
 * without end; so that text is changed here.
 */
function intercepted(
  call: ReturnType<Parameters<Interceptor>[1]>,
  lastToken: () => string | undefined,
): ReturnType<Interceptor> {
  const start = call.start.bind(call);
  call.start = (metadata, listener) => {
    const token = lastToken();
    if (token !== undefined) metadata.set('token', token);
    metadata.set('hasleader', 'true');
    start(metadata, {
      onReceiveMetadata: (received) => listener?.onReceiveMetadata?.(received),
      onReceiveMessage: (message) => listener?.onReceiveMessage?.(message),
      onReceiveStatus: (status) =>
        listener?.onReceiveStatus?.({
          ...status,
          details: status.details.replace(/^etcdserver: (?=invalid auth)/, ''),
        }),
    });
  };
  // Declared as a class of grpc-js; only its interface is used.
  return call as ReturnType<Interceptor>;
}
