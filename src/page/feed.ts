/**
 * An event stream of the endpoint that reconnects by itself, and reports a lost connection.
 *
 * The browser's own EventSource gives up after an error answer, and never notices a silent connection. So
 * each EventSource here is used for one connection, and this file makes the next one. Each connection begins
 * with the full state, so nothing of the connection before has to be kept.
 */
import type { Link, Topic } from './topics.ts';

export interface Listener {
  readonly event: (name: string, data: unknown) => void;
  readonly link: (link: Link) => void;
}

const retryMs = [500, 1_000, 2_000, 5_000];

/** Follows until the returned function is called. */
export function connect({ path, events, silenceMs }: Topic, listener: Listener): () => void {
  let source: EventSource | undefined;
  let failures = 0;
  let lostMs: number | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;

  const disconnect = (): void => {
    source?.close();
    source = undefined;
    clearTimeout(retry);
    clearTimeout(silence);
  };
  const lose = (): void => {
    disconnect();
    lostMs ??= Date.now();
    listener.link({ kind: 'lost', sinceMs: lostMs });
    retry = setTimeout(open, retryMs[Math.min(failures++, retryMs.length - 1)]);
  };
  const listen = (): void => {
    clearTimeout(silence);
    if (silenceMs !== undefined) silence = setTimeout(lose, silenceMs);
  };
  const open = (): void => {
    disconnect();
    const mine = new EventSource(path);
    source = mine;
    mine.onerror = lose;
    mine.onopen = listen;
    for (const name of Object.keys(events)) {
      mine.addEventListener(name, (event: MessageEvent<string>) => {
        listen();
        [failures, lostMs] = [0, undefined];
        listener.link({ kind: 'live' });
        listener.event(name, JSON.parse(event.data));
      });
    }
    listen();
  };
  // The browser reports that the network is back: no reason to wait any longer.
  const onOnline = (): void => {
    if (lostMs !== undefined) open();
  };

  addEventListener('online', onOnline);
  listener.link({ kind: 'connecting' });
  open();
  return () => {
    disconnect();
    removeEventListener('online', onOnline);
  };
}
