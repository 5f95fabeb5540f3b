/**
 * The limit of queries of each client: a bucket that fills at `perSecond` and holds the queries of one second.
 *
 * The number of buckets is bounded. A new client takes the place of the one that came first, which then begins with a
 * full bucket again: senders that forge their addresses cannot make another client wait.
 */

const clientsMax = 4_096;

interface Bucket {
  left: number;
  atMs: number;
}

export class Limits {
  readonly #perSecond: number;
  readonly #buckets = new Map<string, Bucket>();

  /** 0: no limit. */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  get clients(): number {
    return this.#buckets.size;
  }

  /** Whether the client may ask once more. The addresses of one IPv6 network of 64 bits are one client. */
  take(address: string, nowMs: number): boolean {
    if (this.#perSecond === 0) return true;
    const client = address.includes(':') ? networkOf(address) : address;
    const bucket = this.#buckets.get(client) ?? this.#add(client, nowMs);
    const gained = (Math.max(0, nowMs - bucket.atMs) * this.#perSecond) / 1_000;
    bucket.left = Math.min(this.#perSecond, bucket.left + gained);
    bucket.atMs = nowMs;
    if (bucket.left < 1) return false;
    bucket.left--;
    return true;
  }

  #add(client: string, nowMs: number): Bucket {
    if (this.#buckets.size >= clientsMax) this.#buckets.delete(this.#buckets.keys().next().value as string);
    const bucket = { left: this.#perSecond, atMs: nowMs };
    this.#buckets.set(client, bucket);
    return bucket;
  }
}

/** The first four groups as they are written: Node writes an address in one way. */
function networkOf(address: string): string {
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const groups = head.split(':');
  if (tail === undefined || groups.length >= 4) return groups.slice(0, 4).join(':');
  // An IPv4 address in IPv6 is all tail.
  if (tail.includes('.')) return tail;
  const last = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - groups.length - last.length) }, () => '0');
  return [...groups.map((group) => group || '0'), ...zeros, ...last].slice(0, 4).join(':');
}
