/**
 * The one request made for every container: `GET /containers/<id>/json`, lean.
 *
 * dockerode costs about twice the CPU of undici's dispatch here, and this is the call a busy host
 * makes thousands of times a second, so this call alone has a client of its own. It runs in the
 * pool threads. The id is always the full one: an engine also answers to a name, and any container
 * may be named like the first twelve digits of another.
 */

import { createRequire } from 'node:module';
import type { Dispatcher, Pool as PoolType } from 'undici';
import type { ContainerId } from '../model/container.ts';
import type { DockerEndpoint } from './docker.ts';

// The pool without the rest of undici (fetch, WebSocket, …) is 8 MB and 40 ms less for each thread. The
// path is undici's own affair, so its version is pinned in package.json.
const Pool: typeof PoolType = createRequire(import.meta.url)('undici/lib/dispatcher/pool.js');

export type InspectAnswer =
  | { readonly kind: 'document'; readonly body: string }
  /** The engine knows no such container. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly detail: string };

/** A container that is being stopped can hold its inspection for a while; none takes this long and answers. */
const inspectTimeoutMs = 5_000;
/** An inspect answer repeats the labels (16 MiB was accepted) and the environment. */
const documentBytesMax = 32 << 20;
const connectionsMax = 32;

export class InspectClient {
  readonly #pool: PoolType;

  constructor(endpoint: DockerEndpoint) {
    const options = {
      connections: connectionsMax,
      pipelining: 1,
      keepAliveTimeout: 60_000,
      bodyTimeout: inspectTimeoutMs,
    };
    if (endpoint.kind === 'socket') {
      this.#pool = new Pool('http://docker', { ...options, connect: { socketPath: endpoint.path } });
    } else {
      const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host;
      const origin = `${endpoint.tls ? 'https' : 'http'}://${host}:${endpoint.port}`;
      this.#pool = new Pool(origin, { ...options, ...(endpoint.tls && { connect: { ...endpoint.tls } }) });
    }
  }

  /** Never rejects. `versionPrefix` is that of the negotiated API, as `/v1.41`. */
  inspect(versionPrefix: string, id: ContainerId): Promise<InspectAnswer> {
    return new Promise((resolve) => {
      const request = {
        method: 'GET' as const,
        path: `${versionPrefix}/containers/${id}/json`,
        headersTimeout: inspectTimeoutMs,
      };
      this.#pool.dispatch(request, new Answer(resolve));
    });
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}

class Answer implements Dispatcher.DispatchHandler {
  readonly #resolve: (answer: InspectAnswer) => void;
  #status = 0;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(resolve: (answer: InspectAnswer) => void) {
    this.#resolve = resolve;
  }

  onRequestStart(): void {}

  onResponseStart(_controller: Dispatcher.DispatchController, status: number): void {
    this.#status = status;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > documentBytesMax) controller.abort(new Error(`answer is larger than ${documentBytesMax} bytes`));
    else this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (this.#status === 200) this.#resolve({ kind: 'document', body: this.#text() });
    else if (this.#status === 404 && isNoSuchContainer(this.#text())) this.#resolve({ kind: 'absent' });
    else this.#resolve({ kind: 'failed', detail: `status ${this.#status}` });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#resolve({ kind: 'failed', detail: error.message || error.name });
  }

  #text(): string {
    const [only] = this.#chunks;
    return (this.#chunks.length === 1 && only ? only : Buffer.concat(this.#chunks)).toString('utf8');
  }
}

/** A proxy that does not know the path answers 404 as well: only the engine's own word counts as absence. */
function isNoSuchContainer(body: string): boolean {
  return /no such container|no container with/i.test(body.slice(0, 1_000));
}
