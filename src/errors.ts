/**
 * The one class of error that is thrown on purpose, its closed set of codes, and its details as data.
 *
 * Callers match on `code` and `details`, never on the text or the class: an error loses its class when it crosses a
 * thread. Error texts of servers and libraries are read at the boundary that receives them (`docker/`, `etcd/`, `net/`)
 * and nowhere else; their meaning goes into `details.failure`. Messages are sentence case without a full stop and name
 * the key, the value and the allowed values. Exit codes are in `exit-codes.ts`.
 */

/** Every code with its meaning. A test writes the table of the documents from here. */
export const errorCodes = {
  CONFIG_INVALID: 'The configuration or the command line cannot be used',
  HOST_ID_TAKEN: 'Another discover writes for this host id',
  LIST_INVALID: 'The list of living hosts or the export of etcd that a command was given cannot be used',
  FILE_UNWRITABLE: 'A file is there that must not be replaced, or cannot be written',
  EC2_UNAVAILABLE: 'EC2 gave no answer, or a refusal',
  LISTEN_FAILED: 'The HTTP endpoint, the relay or the DNS server cannot listen at its address',
  RESTARTS_EXCEEDED: 'A part of the agent kept crashing',
  DOCKER_UNAVAILABLE: 'The engine gave no answer, or an unusable one. The agent retries',
  AGENT_UNAVAILABLE: 'No agent answered a command that asks one',
  ETCD_UNAVAILABLE: 'etcd gave no answer in time; whether a write took effect is unknown. The agent retries',
  ETCD_REFUSED: 'etcd has refused the call. The agent finds the container whose keys are refused, and quarantines it',
  LEASE_LOST: 'The lease is gone, or the owner key is no longer ours. The agent claims again',
  NAME_INVALID: 'The name of a service or realm that was asked for cannot exist',
  NO_INSTANCE: 'A request by the name of a service found no instance',
  CLIENT_CLOSED: 'The client that was asked is closed',
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof errorCodes;

/** The reasons why a server could not be used, as far as its answer or the failed connection tells. */
export const failures = {
  'connection-refused': 'Nothing listens there',
  'connection-closed': 'The connection ended without an answer',
  timeout: 'There was no answer in time',
  'name-unknown': 'The name of the server cannot be resolved',
  'socket-missing': 'The Unix socket does not exist',
  'socket-denied': 'This user may not open the Unix socket',
  certificate: 'One of the two certificates was not accepted',
  'tls-unspoken': 'The server does not speak TLS',
  'authentication-off': 'A user is configured, and etcd has no users',
  'authentication-missing': 'etcd has users, and none is configured',
  'permission-denied': 'The role of the user does not allow the call',
  learner: 'A member of etcd that only follows: it serves no reads',
  'out-of-space': 'etcd is out of space and takes no writes',
  'answer-too-large': 'The answer is larger than this process takes',
} as const satisfies Record<string, string>;

export type Failure = keyof typeof failures;

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
