/**
 * A client of etcd for one member, by way of etcd3: what the agent and those who look services up share.
 *
 * It does not retry: etcd3's own retries sit behind a breaker that would refuse every call for five
 * seconds after one failure, so both are switched off. Each unary call has a deadline.
 *
 * One client per member, because etcd3 would choose a member at random for each call, so that with one
 * of three down every third call fails.
 */

import { Etcd3 } from 'etcd3';
import { DiscoverError, type Failure, messageOf } from '../errors.ts';
import { handshakeFailure, tlsFailure } from '../net/socket.ts';

/** Where etcd is and who asks. */
export interface EtcdAccess {
  readonly endpoints: readonly string[];
  readonly username?: string;
  readonly password?: string;
  readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
}

/** Above a leader election (about 2 s at etcd's defaults a call may have to wait out half of one). */
export const callTimeoutMs = 2_000;

/** Neither retries nor breakers. */
const noPolicy = { execute: async <Result>(call: (context: object) => Result) => call({}) };

/** @internal What it returns is declared in etcd3, which those who import this package do not have. */
export function connectEtcd(endpoint: string, { tls, username, password }: EtcdAccess): Etcd3 {
  return new Etcd3({
    hosts: endpoint,
    ...(tls && {
      credentials: {
        ...(tls.ca && { rootCertificate: tls.ca }),
        ...(tls.key && { privateKey: tls.key }),
        ...(tls.cert && { certChain: tls.cert }),
      } as { rootCertificate: Buffer },
    }),
    ...(username !== undefined && { auth: { username, password: password ?? '' } }),
    // A fixed deadline would have passed by the second call.
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + callTimeoutMs }),
    faultHandling: { host: () => noPolicy as never, global: noPolicy as never },
    grpcOptions: {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 3_000,
      // A reading of a host with 100,000 keys is larger than gRPC's default of 4 MiB.
      'grpc.max_receive_message_length': 64 << 20,
    },
  });
}

/** The first key behind all that begin with the prefix. Prefixes here end in a slash, never in 0xff. */
export function after(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) as number) + 1;
  return end;
}

/** gRPC's codes by which etcd says that asking again in the same way is no use. */
const refusals = new Set([
  3, // INVALID_ARGUMENT: too many operations, too large, a key twice
  7, // PERMISSION_DENIED
  8, // RESOURCE_EXHAUSTED: out of space, or larger than gRPC takes
  9, // FAILED_PRECONDITION: authentication is off or on, against what we assume
  11, // OUT_OF_RANGE
  16, // UNAUTHENTICATED
]);

/** What a call has failed with, as one of our errors. */
export function etcdError(call: string, error: unknown): DiscoverError {
  // etcd3 turns what it knows into classes of its own, and the text is all that stays of gRPC's code.
  const text = error instanceof Error ? error.message : String(error);
  const code = Number((error as { code?: unknown }).code ?? /\b(\d+) [A-Z_]+:/.exec(text)?.[1]);
  const kind = /requested lease not found/.test(text)
    ? 'LEASE_LOST'
    : refusals.has(code)
      ? 'ETCD_REFUSED'
      : 'ETCD_UNAVAILABLE';
  return new DiscoverError(kind, `etcd ${call}: ${handshakeFailure(text, 'etcd')}${messageOf(error)}`, {
    cause: error,
    details: { failure: tlsFailure(text) ?? failures.find(([said]) => said.test(text))?.[1] },
  });
}

/** What etcd, and gRPC of a connection, say of each. */
const failures: readonly (readonly [said: RegExp, failure: Failure])[] = [
  [/authentication is not enabled/, 'authentication-off'],
  [/user name is empty/, 'authentication-missing'],
  [/permission denied/, 'permission-denied'],
  [/space exceeded/, 'out-of-space'],
  [/not supported for learner/, 'learner'],
  [/ECONNREFUSED/, 'connection-refused'],
  [/ENOTFOUND/, 'name-unknown'],
  [/deadline exceeded/i, 'timeout'],
];
