/**
 * What a call to etcd has failed with, as one of our errors.
 *
 * The texts of etcd, of gRPC and of both HTTP/2 clients are read here and nowhere else. etcd3 turns the
 * errors it knows into classes of its own and drops gRPC's code, so the text is often all that is left.
 *
 * A message names the member, then says what is wrong in plain words, with the option where one is to
 * blame, and last the call where that helps.
 */

import { DiscoverError, type ErrorCode, type Failure, messageOf } from '../errors.ts';
import { handshakeFailure, tlsFailure } from '../net/socket.ts';

/** gRPC's codes by which etcd says that the same request will be refused again. */
const refusals = new Set([
  3, // INVALID_ARGUMENT: too many operations, too large, a key twice
  7, // PERMISSION_DENIED
  8, // RESOURCE_EXHAUSTED: out of space, or larger than gRPC takes
  9, // FAILED_PRECONDITION: authentication is off or on, against what we assume
  11, // OUT_OF_RANGE
  16, // UNAUTHENTICATED
]);

interface Meaning {
  readonly said: RegExp;
  readonly means: string;
  /** What it means of an endpoint that is asked without TLS. */
  readonly inPlain?: string;
  /** Where it is not what gRPC's code says. */
  readonly code?: ErrorCode;
}

const unavailable = 'ETCD_UNAVAILABLE';
const meanings: readonly Meaning[] = [
  { said: /requested lease not found/, means: 'requested lease not found', code: 'LEASE_LOST' },
  { said: /ECONNREFUSED/, means: 'connection refused', code: unavailable },
  {
    said: /ENOTFOUND|EAI_AGAIN|Name resolution failed/,
    means: 'host name cannot be resolved, see etcd.endpoints',
    code: unavailable,
  },
  { said: /EHOSTUNREACH|ENETUNREACH/, means: 'no route to this address', code: unavailable },
  {
    said: /user name is empty/,
    means: 'user name is empty: this cluster has users, set etcd.username and etcd.passwordFile',
  },
  {
    said: /authentication failed, invalid user/,
    means: 'authentication failed: etcd.username or its password is wrong',
  },
  {
    said: /authentication is not enabled/,
    means: 'authentication is not enabled: leave etcd.username out, or enable it',
  },
  { said: /required revision has been compacted/, means: 'compacted while it was being read', code: unavailable },
  {
    // What an HTTP server answers, or a server of gRPC that is not etcd.
    said: /unknown service etcdserverpb|Received HTTP status|HTTP status code|no status of gRPC|Unexpected HTTP|content-type|Parse Error|Protocol error|answer is not HTTP\/2|frame (size|larger)|NGHTTP2|nghttp2/i,
    means: 'what answers is not etcd v3, see etcd.endpoints',
    inPlain: 'what answers is not etcd v3, or expects TLS: see etcd.endpoints, and write https:// for TLS',
    code: unavailable,
  },
  {
    // A server that expects TLS hangs up on plain text.
    said: /ECONNRESET|EPIPE|connection closed|[Cc]onnection dropped|socket hang up|Failed to connect/,
    means: 'the server closed the connection',
    inPlain: 'the server closed the connection: if it expects TLS, write https:// in etcd.endpoints',
    code: unavailable,
  },
  { said: /[Dd]eadline exceeded|DEADLINE_EXCEEDED|no answer in time/, means: 'no answer in time', code: unavailable },
];

/** `endpoint` is the member that was asked. */
export function etcdError(call: string, endpoint: string, error: unknown): DiscoverError {
  if (error instanceof DiscoverError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const code = Number((error as { code?: unknown }).code ?? /\b(\d+) [A-Z_]+:/.exec(text)?.[1]);
  const known = meanings.find(({ said }) => said.test(text));
  const tls = handshakeFailure(text, 'etcd');
  const kind =
    (tls === '' ? known?.code : unavailable) ??
    (refusals.has(code) && !isStaleToken(error) ? 'ETCD_REFUSED' : unavailable);
  const isPlain = endpoint.startsWith('http:');
  const meaning = (isPlain ? known?.inPlain : undefined) ?? known?.means ?? plain(text);
  const words = tls === '' ? `${meaning} (${call})` : `${tls}${plain(text)}`;
  const details = { endpoint, failure: tlsFailure(text) ?? failures.find(([said]) => said.test(text))?.[1] };
  return new DiscoverError(kind, `etcd at ${endpoint}: ${words}`, { cause: error, details });
}

/** What callers tell apart, as data. */
const failures: readonly (readonly [said: RegExp, failure: Failure])[] = [
  [/authentication is not enabled/, 'authentication-off'],
  [/user name is empty/, 'authentication-missing'],
  [/permission denied/, 'permission-denied'],
  [/not supported for learner/, 'learner'],
  [/space exceeded/, 'out-of-space'],
  [/ECONNREFUSED/, 'connection-refused'],
  [/ENOTFOUND|Name resolution failed/, 'name-unknown'],
  [/[Dd]eadline exceeded|DEADLINE_EXCEEDED|no answer in time/, 'timeout'],
];

/** Whether a member has raised the alarm that it is full. The answer to `status` has the alarm as text only. */
export function isOutOfSpace(alarms: readonly string[]): boolean {
  return alarms.some((alarm) => alarm.includes('NOSPACE'));
}

/** What etcd has been heard to say of a token that has run out, or that was made before a user or role changed. */
const staleToken =
  /invalid auth token|revision of auth store is old|revision in header is old|auth store revision is old/;

/** Whether a new login is all that the same call needs. etcd says so before it does anything. */
export function isStaleToken(error: unknown): boolean {
  return staleToken.test(error instanceof Error ? error.message : String(error));
}

/** Without gRPC's code and what it adds for its own developers. */
function plain(text: string): string {
  return messageOf(text)
    .replace(/^.*?\b\d+ [A-Z_]+: /, '')
    .replace(/^rpc error: code = \w+ desc = /, '')
    .replace(/^(etcdserver|Error): /, '')
    .replace(/ ?Resolution note:.*$/, '')
    .replace(/^No connection established\. Last error: (Error: )?/, '')
    .replace(/\.$/, '');
}
