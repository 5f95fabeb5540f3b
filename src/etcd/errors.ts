/**
 * A failed call to etcd to one of our errors.
 *
 * Only this file reads the texts of etcd, of gRPC and of both HTTP/2 clients. etcd3 turns the errors that it knows
 * into classes of its own and drops gRPC's code, so often only the text is left.
 *
 * A message names the member, then the problem in plain words, with the option that causes it if there is one, and
 * last the call if that helps.
 */

import { DiscoverError, type ErrorCode, type Failure, messageOf } from '../errors.ts';
import { handshakeFailure, plainTls, tlsFailure } from '../net/socket.ts';

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
  /** The meaning if the endpoint was asked without TLS. */
  readonly inPlain?: string;
  /** The code of the error, if it is not the one that follows from gRPC's code. */
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
  { said: /HTTP(?: status code)? 50[234]\b/, means: 'a proxy answers, and does not reach etcd', code: unavailable },
  {
    said: /HTTP(?: status code)? 413\b/,
    means: 'a proxy refuses a request of this size (in nginx by client_max_body_size)',
    code: 'ETCD_REFUSED',
  },
  {
    // Answers of an HTTP server, or of a gRPC server that is not etcd.
    said: /unknown service etcdserverpb|Received HTTP status|HTTP status code|no status of gRPC|Unexpected HTTP|content-type|Parse Error|Protocol error|answer is not HTTP\/2|frame (size|larger)|NGHTTP2|nghttp2/i,
    means: 'what answers is not etcd v3, see etcd.endpoints',
    inPlain: 'what answers is not etcd v3, or expects TLS: see etcd.endpoints, and write https:// for TLS',
    code: unavailable,
  },
  // Of grpc-js, for a connection that was in use: what it was made with is not the cause.
  { said: /[Cc]onnection dropped/, means: 'the connection was lost', code: unavailable },
  {
    // A server that expects TLS closes the connection on plain text.
    said: /ECONNRESET|EPIPE|connection closed|socket hang up|Failed to connect/,
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

/** The failures that callers distinguish, as data. */
const failures: readonly (readonly [said: RegExp, failure: Failure])[] = [
  [/authentication is not enabled/, 'authentication-off'],
  [/user name is empty/, 'authentication-missing'],
  [/permission denied/, 'permission-denied'],
  [/not supported for learner/, 'learner'],
  [/space exceeded/, 'out-of-space'],
  // Of grpc-js. etcd writes it with a small r, of a request.
  [/Received message larger than max/, 'answer-too-large'],
  [/ECONNREFUSED/, 'connection-refused'],
  [/ENOTFOUND|Name resolution failed/, 'name-unknown'],
  [/[Dd]eadline exceeded|DEADLINE_EXCEEDED|no answer in time/, 'timeout'],
];

/** Whether a member has raised the alarm that it is full. The answer to `status` has the alarm as text only. */
export function isOutOfSpace(alarms: readonly string[]): boolean {
  return alarms.some((alarm) => alarm.includes('NOSPACE'));
}

/** The texts of etcd for a token that has expired, or that was made before a user or role changed. */
const staleToken =
  /invalid auth token|revision of auth store is old|revision in header is old|auth store revision is old/;

/** Whether the same call would succeed after a new login. etcd refuses the token before it does anything. */
export function isStaleToken(error: unknown): boolean {
  return staleToken.test(error instanceof Error ? error.message : String(error));
}

/** The text without gRPC's code and without the notes of grpc-js for developers. */
function plain(text: string): string {
  return plainTls(messageOf(text))
    .replace(/^.*?\b\d+ [A-Z_]+: /, '')
    .replace(/^rpc error: code = \w+ desc = /, '')
    .replace(/^(etcdserver|Error): /, '')
    .replace(/ ?Resolution note:.*$/, '')
    .replace(/^No connection established\. Last error: (Error: )?/, '')
    .replace(/\.$/, '')
    .trim();
}
