/** The event streams of the endpoint that the page follows, and how what they said is kept for a tab that opens later. */

/** `last`: the newest one counts. `items`: each changes some of many, by the name of their id. `samples`: the last ten minutes. */
export type Kept = 'last' | 'samples' | { readonly items: string };

export interface Topic {
  readonly path: string;
  readonly events: Readonly<Record<string, Kept>>;
  /** Without an event for so long the connection counts as lost; for streams that never rest. */
  readonly silenceMs?: number;
}

export const topics = {
  status: {
    path: 'status?watch',
    events: { samples: 'samples', status: 'last', containers: { items: 'id' } },
    // The agent sends a summary each second.
    silenceMs: 8_000,
  },
  services: { path: 'v1/overview?watch', events: { services: { items: 'name' } } },
  hosts: { path: 'v1/hosts?watch', events: { hosts: 'last' } },
} as const satisfies Readonly<Record<string, Topic>>;

export type TopicName = keyof typeof topics;

export type Link =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  | { readonly kind: 'lost'; readonly sinceMs: number };
