/**
 * The one request made for every container: `GET /containers/<id>/json`.
 *
 * A busy host makes this request thousands of times a second, so it goes over the HTTP/1 client of `net/`,
 * whose README gives the savings. It runs in the pool threads. The id is always the full id: an engine also
 * accepts a name, and any container may be named like the first twelve digits of another.
 *
 * A document names its container. The document of another container is no answer: otherwise a proxy that
 * sends one response twice would put the ports of one container under the key of another.
 */

import type { ContainerId } from '../container/container.ts';
import { messageOf } from '../errors.ts';
import { Http1Client } from '../net/http1/client.ts';
import type { Response } from '../net/http1/response.ts';
import type { DockerEndpoint } from './docker.ts';
import { requestPath } from './request-path.ts';

export type InspectAnswer =
  | { readonly kind: 'document'; readonly document: unknown }
  /** The engine knows no such container. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly detail: string; readonly status?: number };

const limits = {
  /** A container that is being stopped can hold its inspection for a while; none takes this long and answers. */
  timeoutMs: 5_000,
  /** An inspect answer repeats the labels (16 MiB was accepted) and the environment. */
  bodyBytesMax: 32 << 20,
  connectionsMax: 32,
  idleTimeoutMs: 60_000,
  readBytes: 32 << 10,
};

export class InspectClient {
  readonly #client: Http1Client;

  constructor(endpoint: DockerEndpoint) {
    const isSocket = endpoint.kind === 'socket';
    const address = isSocket ? { path: endpoint.path } : endpoint;
    const host = isSocket ? 'docker' : hostField(endpoint.host, endpoint.port);
    this.#client = new Http1Client({ ...limits, address, host });
  }

  /** Rejects only for a path that is not allowed. `versionPrefix` is that of the negotiated API, as `/v1.41`. */
  async inspect(versionPrefix: string, id: ContainerId): Promise<InspectAnswer> {
    const path = requestPath(versionPrefix, `/containers/${id}/json`);
    try {
      return await this.#client.get(path, (response) => answerOf(response, id));
    } catch (error) {
      return { kind: 'failed', detail: messageOf(error) };
    }
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}

function hostField(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Throws if the response is no answer to a request about this container. */
function answerOf({ status, body }: Response, id: ContainerId): InspectAnswer {
  if (status === 404 && isNoSuchContainer(body)) return { kind: 'absent' };
  if (status !== 200) return { kind: 'failed', detail: `status ${status}`, status };
  const document = parse(body);
  if (typeof document !== 'object' || document === null || !('Id' in document) || document.Id !== id) {
    throw new Error('inspect answer is about another container, or about none');
  }
  return { kind: 'document', document };
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    // The parser's message would quote the document, and so the environment of a container.
    throw new Error('inspect answer is not JSON');
  }
}

/** A proxy that does not know the path answers 404 as well: only the engine's own message counts as absence. */
function isNoSuchContainer(body: string): boolean {
  return /no such container|no container with/i.test(body.slice(0, 1_000));
}
