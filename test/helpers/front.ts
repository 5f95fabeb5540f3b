/**
 * An HTTP front before a real engine's socket: passes requests and answers on as they are, but for those it
 * was told to answer in another way. For faults that have to know which request they are about; what can go
 * wrong with bytes and connections alone is `proxy.ts`.
 */
import { rmSync } from 'node:fs';
import http from 'node:http';

/** Answers in the engine's place. */
export type Answer = (response: http.ServerResponse) => void;

export interface Front extends AsyncDisposable {
  /** What to answer to this path, if not the truth; may change at any time. */
  answer: (path: string) => Answer | undefined;
}

/** An error as dockerd words it. */
export const status =
  (code: number): Answer =>
  (response) =>
    response.writeHead(code, { 'content-type': 'application/json' }).end('{"message":"made up"}\n');

export async function startFront(to: string, listen: string): Promise<Front> {
  const server = http.createServer((request, response) => {
    const answer = front.answer(request.url ?? '');
    if (answer !== undefined) return answer(response);
    const { url, method, headers } = request;
    const asked = http.request({ socketPath: to, path: url, method, headers, agent: false }, (truth) => {
      response.writeHead(truth.statusCode ?? 500, truth.headers);
      response.flushHeaders(); // those of the event stream come before any event
      truth.pipe(response);
      truth.on('error', () => response.destroy());
    });
    asked.on('error', () => response.destroy());
    response.on('close', () => asked.destroy());
    asked.end();
  });
  const front: Front = {
    answer: () => undefined,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      rmSync(listen, { force: true });
    },
  };
  await new Promise<void>((resolve) => server.listen(listen, resolve));
  return front;
}
