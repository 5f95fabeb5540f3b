/**
 * The one class of error that is thrown on purpose, its closed set of codes, and its details as data.
 *
 * Callers match on `code` and `details`, never on the text or the class: an error loses its class when it crosses a
 * thread. Error texts of servers and libraries are read at the boundary that receives them (`docker/`, `etcd/`, `net/`)
 * and nowhere else; their meaning goes into `details.failure`. Messages are sentence case without a full stop and name
 * the key, the value and the allowed values. Exit codes are in `exit-codes.ts`.
 */

export type ErrorCode =
  /** The configuration or the command line cannot be used. */
  | 'CONFIG_INVALID'
  /** Another discover writes for this host id. */
  | 'HOST_ID_TAKEN'
  /** The list of living hosts or the export of etcd that a command was given cannot be used. */
  | 'LIST_INVALID'
  /** A file is there that must not be replaced, or cannot be written. */
  | 'FILE_UNWRITABLE'
  /** EC2 gave no answer, or a refusal. */
  | 'EC2_UNAVAILABLE'
  /** The HTTP endpoint cannot listen at its address. */
  | 'LISTEN_FAILED'
  /** A part kept crashing. */
  | 'RESTARTS_EXCEEDED'
  /** The Docker Engine gave no answer, or an unusable one. The agent retries. */
  | 'DOCKER_UNAVAILABLE'
  /** No agent answered a command that asks one. */
  | 'AGENT_UNAVAILABLE'
  /** etcd gave no answer in time; whether a write took effect is unknown. The agent retries. */
  | 'ETCD_UNAVAILABLE'
  /** etcd has refused the call. The agent bisects, then quarantines. */
  | 'ETCD_REFUSED'
  /** The lease is gone, or the owner key is no longer ours. The agent claims again. */
  | 'LEASE_LOST'
  /** The name of a service or realm that was asked for cannot exist. */
  | 'NAME_INVALID'
  /** A request by the name of a service found no instance. */
  | 'NO_INSTANCE'
  /** The client that was asked is closed. */
  | 'CLIENT_CLOSED';

/** The reason why a server could not be used, as far as its answer or the failed connection tells. */
export type Failure =
  /** Nothing listens there. */
  | 'connection-refused'
  /** The connection ended without an answer. */
  | 'connection-closed'
  | 'timeout'
  /** The name of the server cannot be resolved. */
  | 'name-unknown'
  /** The Unix socket does not exist, or this user may not open it. */
  | 'socket-missing'
  | 'socket-denied'
  /** One of the two certificates was not accepted. */
  | 'certificate'
  /** The server does not speak TLS. */
  | 'tls-unspoken'
  | 'authentication-off'
  | 'authentication-missing'
  | 'permission-denied'
  /** A member of etcd that only follows: it serves no reads. */
  | 'learner'
  | 'out-of-space'
  /** The answer is larger than this process takes. */
  | 'answer-too-large';

/** One thing that is wrong: with an option, a variable of the environment, a file or a word of the command line. */
export interface Problem {
  /** The thing that is wrong, such as `host.ip`: the subject of the sentence that `reason` completes. May be empty. */
  readonly path: string;
  /** The place that has set it, such as `command line`. */
  readonly origin?: string | undefined;
  /** Such as `must be an integer from 0 to 64`. */
  readonly reason: string;
  /** The value, as it may be shown. */
  readonly got?: string | undefined;
}

/** The details of an error beside its code; each member only where it applies. */
export interface ErrorDetails {
  /** All problems of the configuration or the command line, for `CONFIG_INVALID`. */
  readonly problems?: readonly Problem[];
  readonly failure?: Failure | undefined;
  /** The server that was asked. */
  readonly endpoint?: string | undefined;
  /** The HTTP status of its answer. */
  readonly status?: number | undefined;
  /** Whether there was no answer in the time given, which is not the same as a refusal. */
  readonly isSilent?: boolean;
}

export class DiscoverError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {});
    this.name = 'DiscoverError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** A problem as a sentence. */
export function problemText({ path, origin, reason, got }: Problem): string {
  const subject = origin === undefined ? path : `${path} (${origin})`;
  return `${subject} ${reason}${got === undefined ? '' : `, got ${got}`}`.trimStart();
}

/** All problems in one error, a line each. `title` completes "Cannot use". */
export function configError(title: string, problems: readonly Problem[]): DiscoverError {
  const message = [`Cannot use ${title}:`, ...problems.map(problemText)].join('\n  ');
  return new DiscoverError('CONFIG_INVALID', message, { details: { problems } });
}

/** The message of anything that was thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replaceAll(/\s+/g, ' ').slice(0, 500);
}

/** The code of an error that is ours. */
export function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof DiscoverError ? error.code : undefined;
}

/** The details of an error of our own class; empty for any other error. */
export function detailsOf(error: unknown): ErrorDetails {
  return error instanceof DiscoverError ? error.details : {};
}
