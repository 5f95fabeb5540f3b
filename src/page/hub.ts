/**
 * Shares event streams: any number of tabs follow a topic over one connection, which is open as long as one of them does.
 * It runs in the shared worker of all tabs, or in the tab itself where the browser has no such worker.
 */
import type { Listener } from './feed.ts';
import { Retained } from './retained.ts';
import { type Link, type Topic, type TopicName, topics } from './topics.ts';

/** From a tab. */
export type Wish = { readonly kind: 'follow' | 'leave'; readonly topic: TopicName };
/** To a tab. */
export type News =
  | { readonly kind: 'event'; readonly topic: TopicName; readonly name: string; readonly data: unknown }
  | { readonly kind: 'link'; readonly topic: TopicName; readonly link: Link };

export type Tell = (news: News) => void;
type Connect = (topic: Topic, listener: Listener) => () => void;

interface Channel {
  readonly tabs: Set<Tell>;
  readonly retained: Retained;
  link: Link;
  readonly close: () => void;
}

export class Hub {
  readonly #connect: Connect;
  readonly #channels = new Map<TopicName, Channel>();

  constructor(connect: Connect) {
    this.#connect = connect;
  }

  wish({ kind, topic }: Wish, tab: Tell): void {
    if (kind === 'follow') this.#follow(topic, tab);
    else this.#leave(topic, tab);
  }

  /** The tab is gone. */
  forget(tab: Tell): void {
    for (const topic of [...this.#channels.keys()]) this.#leave(topic, tab);
  }

  #follow(topic: TopicName, tab: Tell): void {
    const channel = this.#channels.get(topic) ?? this.#open(topic);
    if (channel.tabs.has(tab)) return;
    tab({ kind: 'link', topic, link: channel.link });
    for (const [name, data] of channel.retained.replay()) tab({ kind: 'event', topic, name, data });
    channel.tabs.add(tab);
  }

  #leave(topic: TopicName, tab: Tell): void {
    const channel = this.#channels.get(topic);
    if (!channel?.tabs.delete(tab) || channel.tabs.size > 0) return;
    channel.close();
    this.#channels.delete(topic);
  }

  #open(topic: TopicName): Channel {
    const retained = new Retained(topics[topic].events);
    const tabs = new Set<Tell>();
    const tell = (news: News): void => {
      for (const tab of tabs) tab(news);
    };
    let close = (): void => {};
    const channel: Channel = { tabs, retained, link: { kind: 'connecting' }, close: () => close() };
    this.#channels.set(topic, channel);
    close = this.#connect(topics[topic], {
      event: (name, data) => {
        retained.take(name, data);
        tell({ kind: 'event', topic, name, data });
      },
      link: (link) => {
        if (link.kind === channel.link.kind) return;
        channel.link = link;
        tell({ kind: 'link', topic, link });
      },
    });
    return channel;
  }
}
