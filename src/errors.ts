/**
 * The one class of error that is thrown on purpose, and its closed set of codes.
 *
 * Callers match on `code`, never on the text or the class: an error loses its class when it
 * crosses a thread. Messages are sentence case without a full stop and name the key, the value
 * and what is allowed.
 */

export type ErrorCode =
  /** The configuration cannot be used. Exit code 78. */
  | 'CONFIG_INVALID'
  /** Another discover writes for this host id. Exit code 75. */
  | 'HOST_ID_TAKEN'
  /** The list of those that live, which was handed over, cannot be used. Exit code 65. */
  | 'LIST_INVALID'
  /** EC2 gave no answer, or a refusal. Exit code 69. */
  | 'EC2_UNAVAILABLE'
  /** The HTTP endpoint cannot listen where it should. Exit code 69. */
  | 'LISTEN_FAILED'
  /** A part kept crashing. Exit code 70. */
  | 'RESTARTS_EXCEEDED'
  /** The Docker Engine gave no answer, or not one that can be used. Retried; of a command, exit code 69. */
  | 'DOCKER_UNAVAILABLE'
  /** A command had no answer from the discover that should run here. Exit code 69. */
  | 'AGENT_UNAVAILABLE'
  /** etcd gave no answer in time; whether a write took effect is unknown. Retried. */
  | 'ETCD_UNAVAILABLE'
  /** etcd has answered that it will not do this. Bisected, then parked. */
  | 'ETCD_REFUSED'
  /** The lease is gone, or the owner key is no longer ours. Claimed again. */
  | 'LEASE_LOST'
  /** What was asked for cannot be the name of a service or of a realm. Exit code 78. */
  | 'NAME_INVALID'
  /** The client that was asked is closed. */
  | 'CLIENT_CLOSED';

export class DiscoverError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DiscoverError';
    this.code = code;
  }
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
