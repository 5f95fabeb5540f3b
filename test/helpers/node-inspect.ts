/**
 * `InspectClient` on `node:http` with an agent that keeps its connections: the rival in the benchmark, and the oracle.
 *
 * The same outcomes, the same limits, the same one more try where an idle connection had been closed.
 */
import http from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import type { ContainerId } from '../../src/container/container.ts';
import type { DockerEndpoint } from '../../src/docker/docker.ts';
import type { InspectAnswer } from '../../src/docker/inspect-client.ts';
import { requestPath } from '../../src/docker/request-path.ts';

const inspectTimeoutMs = 5_000;
const documentBytesMax = 32 << 20;
const connectionsMax = 32;
const idleTimeoutMs = 60_000;

export class NodeInspectClient {
  readonly #agent = new http.Agent({
    keepAlive: true,
    maxSockets: connectionsMax,
    timeout: idleTimeoutMs,
    scheduling: 'lifo',
  });
  readonly #where: http.RequestOptions;

  constructor(endpoint: DockerEndpoint) {
    const where =
      endpoint.kind === 'socket'
        ? { socketPath: endpoint.path, headers: { host: 'docker' } }
        : { host: endpoint.host, port: endpoint.port };
    this.#where = { ...where, agent: this.#agent };
  }

  inspect(versionPrefix: string, id: ContainerId, isRepeated = false): Promise<InspectAnswer> {
    return new Promise((resolve) => {
      const path = requestPath(versionPrefix, `/containers/${id}/json`);
      // Again on a new connection: another idle one may have been closed as well.
      const request = http.get({ ...this.#where, ...(isRepeated && { agent: false }), path }, (response) => {
        const decoder = new StringDecoder();
        let body = '';
        response.on('data', (chunk: Buffer) => {
          body += decoder.write(chunk);
          if (body.length > documentBytesMax) response.destroy(new Error('answer is too large'));
        });
        response.on('error', (error) => settle({ kind: 'failed', detail: error.message }));
        response.on('end', () => {
          body += decoder.end();
          if (response.statusCode === 200) settle(documentOf(body, id));
          else if (response.statusCode === 404 && /no such container|no container with/i.test(body)) {
            settle({ kind: 'absent' });
          } else settle({ kind: 'failed', detail: `status ${response.statusCode}` });
        });
      });
      const timer = setTimeout(
        () => request.destroy(new Error(`no answer within ${inspectTimeoutMs} ms`)),
        inspectTimeoutMs,
      );
      const settle = (answer: InspectAnswer): void => {
        clearTimeout(timer);
        resolve(answer);
      };
      request.on('error', (error) => {
        // EPIPE where the other side's end had come, and had not been read, as the request went out.
        const isClosed = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        const isUnheard = request.reusedSocket && isClosed && !isRepeated;
        if (isUnheard) void this.inspect(versionPrefix, id, true).then(settle);
        else settle({ kind: 'failed', detail: error.message });
      });
    });
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }
}

function documentOf(body: string, id: ContainerId): InspectAnswer {
  try {
    const document = JSON.parse(body) as { Id?: unknown };
    if (document.Id === id) return { kind: 'document', document };
    return { kind: 'failed', detail: 'inspect answer is about another container, or about none' };
  } catch {
    return { kind: 'failed', detail: 'inspect answer is not JSON' };
  }
}
