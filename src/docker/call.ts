/**
 * One call to the engine. Every call has an allowed path, a time limit that ends it, and an error that says what to do.
 *
 * The list of running containers is here too, because a pool thread asks for it: the pool thread must not load
 * dockerode.
 */

import { type Clock, deadline } from '../actor/clock.ts';
import { type Filter, listFilters } from '../container/filter.ts';
import { DiscoverError, type Failure, messageOf } from '../errors.ts';
import { handshakeFailure, plainTls, tlsFailure } from '../net/socket.ts';
import { createModem, type DockerEndpoint, ModemCall, type ModemCallOptions } from './modem.ts';
import { requestPath } from './request-path.ts';

export interface CallOptions extends ModemCallOptions {
  /** Without the query if dockerode makes it. */
  readonly path: string;
  readonly timeoutMs: number;
}

/** Carries one call out. The time limit is on all of `work`, and aborts the call. */
export async function callEngine<Taken>(
  endpoint: DockerEndpoint,
  clock: Clock,
  options: CallOptions,
  work: (call: ModemCall) => Promise<Taken>,
): Promise<Taken> {
  const { path, timeoutMs, versionPrefix } = options;
  // Checked before a URL is made of the path: a URL would have resolved `/v1.41/..` already.
  requestPath(versionPrefix, path);
  const call = new ModemCall(endpoint, options);
  const settled = work(call).catch((error: unknown) => {
    const { status, words } = call.refusal ?? {};
    if (status !== undefined) throw unavailable(`status ${status}${words ? `: ${words}` : ''}`, undefined, status);
    throw error instanceof DiscoverError ? error : unavailable(messageOf(error), error);
  });
  return deadline(clock, timeoutMs, settled, () => {
    call.abort();
    return unavailable(`no answer to ${path.replace('?', '')} within ${timeoutMs} ms${hintOf(path)}`);
  });
}

/** An engine begins to answer at once. A proxy that buffers waits for the first event, or for kilobytes of events. */
function hintOf(path: string): string {
  return path.startsWith('/events') ? ': if a proxy is in front of it, turn off its buffering' : '';
}

export function unavailable(detail: string, cause?: unknown, status?: number): DiscoverError {
  return new DiscoverError(
    'DOCKER_UNAVAILABLE',
    `Docker Engine: ${handshakeFailure(detail, 'docker')}${plainTls(detail)}`,
    {
      cause,
      details: { status, failure: tlsFailure(detail) ?? failures.get(systemCodeOf(cause)) },
    },
  );
}

/** The system's error codes for a connection. */
const failures: ReadonlyMap<string, Failure> = new Map([
  ['ENOENT', 'socket-missing'],
  ['EACCES', 'socket-denied'],
  ['ECONNREFUSED', 'connection-refused'],
  ['ECONNRESET', 'connection-closed'],
  ['ENOTFOUND', 'name-unknown'],
]);

function systemCodeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
}

/** A list of 10,000 containers takes longer than a ping. */
const listTimeoutMs = 15_000;
const listBytesMax = 256 << 20;

/**
 * The body of a complete list of the running containers that match a filter, or of `all`. A paused container runs: Docker's plain list has
 * it, Podman's has not, so the list is asked for by status.
 */
export function askList(
  endpoint: DockerEndpoint,
  clock: Clock,
  versionPrefix: string,
  which: 'all' | readonly Filter[] = [],
): Promise<Buffer> {
  const path = '/containers/json';
  const query = which === 'all' ? { all: 1 } : { filters: { status: ['running', 'paused'], ...listFilters(which) } };
  const options = { versionPrefix, path, timeoutMs: listTimeoutMs, bytesMax: listBytesMax };
  return callEngine(endpoint, clock, options, async (call) => {
    const { body } = await call.dial(createModem(call), path, query);
    return body;
  });
}
