/**
 * A tab's way to the event streams: through the shared worker, so that a browser has one stream of a kind however many
 * tabs it has open. A browser has only six connections for one address.
 *
 * A tab that was hidden for a minute follows nothing until it is seen again: the agent saves the work.
 */
import { connect } from './feed.ts';
import { Hub, type News, type Tell, type Wish } from './hub.ts';
import type { Link, TopicName } from './topics.ts';

/** Set by the build: a worker of another version is another worker. */
declare const pageVersion: string;

export interface Subscription {
  /** By the name of the event; the data is what the endpoint promises. */
  readonly on: Readonly<Record<string, (data: never) => void>>;
  readonly onLink: (link: Link) => void;
}

const hiddenMs = 60_000;
const subscriptions = new Map<TopicName, Subscription>();

const take: Tell = (news: News) => {
  const subscription = subscriptions.get(news.topic);
  if (news.kind === 'link') subscription?.onLink(news.link);
  else subscription?.on[news.name]?.(news.data as never);
};

/** The topics that this tab follows now. */
const followed = new Set<TopicName>();
let ask: ((wish: Wish) => void) | undefined;

function wish(kind: Wish['kind'], topic: TopicName): void {
  if (kind === 'follow') followed.add(topic);
  else followed.delete(topic);
  ask ??= open();
  ask({ kind, topic });
}

function open(): (wish: Wish) => void {
  if (typeof SharedWorker === 'undefined') return alone();
  try {
    const worker = new SharedWorker(`worker.js?${pageVersion}`, 'discover');
    worker.port.onmessage = ({ data }: MessageEvent<News>) => take(data);
    // It could not be loaded.
    worker.onerror = () => {
      ask = alone();
      for (const topic of followed) ask({ kind: 'follow', topic });
    };
    return (wish) => worker.port.postMessage(wish);
  } catch {
    return alone();
  }
}

/** This tab has streams of its own. */
function alone(): (wish: Wish) => void {
  const hub = new Hub(connect);
  return (wish) => hub.wish(wish, take);
}

/** Follows until the returned function is called. A topic has one subscription at a time. */
export function subscribe(topic: TopicName, subscription: Subscription): () => void {
  let hiding: number | undefined;
  let isFollowing = false;
  const start = (): void => {
    clearTimeout(hiding);
    if (!isFollowing) wish('follow', topic);
    isFollowing = true;
  };
  const stop = (): void => {
    clearTimeout(hiding);
    if (isFollowing) wish('leave', topic);
    isFollowing = false;
  };
  const onVisibility = (): void => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(stop, hiddenMs);
    else start();
  };
  subscriptions.set(topic, subscription);
  document.addEventListener('visibilitychange', onVisibility);
  addEventListener('pagehide', stop);
  addEventListener('pageshow', start);
  start();
  return () => {
    stop();
    document.removeEventListener('visibilitychange', onVisibility);
    removeEventListener('pagehide', stop);
    removeEventListener('pageshow', start);
    if (subscriptions.get(topic) === subscription) subscriptions.delete(topic);
  };
}
