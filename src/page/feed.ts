/**
 * An event stream of the endpoint that reconnects by itself, and reports a lost connection.
 *
 * The browser's own EventSource gives up after an error answer, and never notices a silent connection. So
 * each EventSource here is used for one connection, and this file makes the next one. Each connection begins
 * with the full state, so nothing of the connection before has to be kept.
 *
 * A page that was hidden for a minute closes its stream: a browser has only six connections for one
 * address, and the agent saves the work.
 */

export type Link =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  | { readonly kind: 'lost'; readonly sinceMs: number };

export interface FeedOptions {
  readonly path: string;
  /** By the name of the event; the data is what the endpoint promises. */
  readonly on: Readonly<Record<string, (data: never) => void>>;
  readonly onLink: (link: Link) => void;
  /** Without an event for so long the connection counts as lost; for streams that never rest. */
  readonly silenceMs?: number;
}

const retryMs = [500, 1_000, 2_000, 5_000];
const hiddenMs = 60_000;

/** Follows until the returned function is called. */
export function follow({ path, on, onLink, silenceMs }: FeedOptions): () => void {
  let source: EventSource | undefined;
  let failures = 0;
  let lostMs: number | undefined;
  let retry: number | undefined;
  let silence: number | undefined;
  let hiding: number | undefined;

  const disconnect = (): void => {
    source?.close();
    source = undefined;
    clearTimeout(retry);
    clearTimeout(silence);
  };
  const lose = (): void => {
    disconnect();
    lostMs ??= Date.now();
    onLink({ kind: 'lost', sinceMs: lostMs });
    retry = setTimeout(connect, retryMs[Math.min(failures++, retryMs.length - 1)]);
  };
  const listen = (): void => {
    clearTimeout(silence);
    if (silenceMs !== undefined) silence = setTimeout(lose, silenceMs);
  };
  const connect = (): void => {
    disconnect();
    const mine = new EventSource(path);
    source = mine;
    mine.onerror = lose;
    mine.onopen = listen;
    for (const [name, take] of Object.entries(on)) {
      mine.addEventListener(name, (event: MessageEvent<string>) => {
        listen();
        if (failures > 0 || lostMs !== undefined) [failures, lostMs] = [0, undefined];
        onLink({ kind: 'live' });
        take(JSON.parse(event.data) as never);
      });
    }
    listen();
  };
  const onVisibility = (): void => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(disconnect, hiddenMs);
    else if (source === undefined) connect();
  };
  // The browser reports that the network is back: no reason to wait any longer.
  const onOnline = (): void => {
    if (lostMs !== undefined && !document.hidden) connect();
  };

  document.addEventListener('visibilitychange', onVisibility);
  addEventListener('online', onOnline);
  onLink({ kind: 'connecting' });
  connect();
  return () => {
    disconnect();
    clearTimeout(hiding);
    document.removeEventListener('visibilitychange', onVisibility);
    removeEventListener('online', onOnline);
  };
}
