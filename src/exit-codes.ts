/**
 * Exit codes: one table over all errors, and those that commands end with on their own. Numbers are those of
 * sysexits(3) where it has one. A test writes the table of the documents from here.
 */
import { codeOf, type ErrorCode } from './errors.ts';

export const exitMeanings = {
  0: 'Stopped as asked; a command has done its work',
  1: 'The negative result of a command: no such instance, something to delete, a difference, a failed check',
  65: 'Input is rejected: a malformed list or export, or a deletion above `--max-percent`',
  69: 'etcd, Docker, EC2 or the agent did not answer a command or refused it (the agent itself waits for them); the agent cannot listen at `http.listen`, `http.relay` or `dns.listen`',
  70: 'Something unexpected, or a part that kept crashing; restarting is right',
  73: '`init`: the configuration file is there already, or cannot be written',
  75: 'Another discover writes for this `host.id`',
  78: 'The configuration or the command line cannot be used; restarting is no use',
  130: 'Ended at once by a second SIGINT',
  143: 'Ended at once by a second SIGTERM',
} as const satisfies Record<number, string>;

export const exitNegative = 1;
export const exitRejected = 65;
export const exitUnexpected = 70;

/** Total, so that a new code is given an exit code as well. */
export const exitCodes = {
  CONFIG_INVALID: 78,
  NAME_INVALID: 78,
  HOST_ID_TAKEN: 75,
  LIST_INVALID: exitRejected,
  FILE_UNWRITABLE: 73,
  EC2_UNAVAILABLE: 69,
  AGENT_UNAVAILABLE: 69,
  DOCKER_UNAVAILABLE: 69,
  ETCD_UNAVAILABLE: 69,
  ETCD_REFUSED: 69,
  LEASE_LOST: 69,
  LISTEN_FAILED: 69,
  RESTARTS_EXCEEDED: exitUnexpected,
  NO_INSTANCE: exitNegative,
  CLIENT_CLOSED: exitUnexpected,
} as const satisfies Record<ErrorCode, keyof typeof exitMeanings>;

/** The exit code for anything that was thrown. */
export function exitCodeOf(error: unknown): number {
  const code = codeOf(error);
  return code === undefined ? exitUnexpected : exitCodes[code];
}
