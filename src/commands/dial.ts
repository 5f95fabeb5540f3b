/**
 * Whether the published TCP addresses of a host accept a connection: for `verify --dial` and `doctor --dial`.
 *
 * Nothing is sent, and publishing never waits for it: a container may listen a moment after it has started. At most
 * `limits.atOnce` connections are under way, each has a time limit, and so have all of them together.
 */
import { connect } from 'node:net';
import { parseInstance } from '../layout/instance.ts';

/** `closed`: accepted, and closed at once without a byte, as Docker's proxy does where the container does not listen. */
export type DialOutcome = 'fine' | 'refused' | 'timed-out' | 'closed' | 'unreachable' | 'not-tried';

export interface Dialled {
  readonly key: string;
  readonly url: string;
  readonly container: string;
  readonly outcome: DialOutcome;
  /** The system's code, where it is neither a refusal nor silence. */
  readonly detail?: string;
}

const limits = { atOnce: 32, eachMs: 2_000, allMs: 60_000 };
/** A proxy finds out by then whether the container listens. */
const closedMs = 150;

/** `values`: service keys and their values. Addresses of UDP and SCTP cannot be tried: nothing has to answer there. */
export async function dialAll(
  below: string,
  values: Iterable<readonly [key: string, value: string]>,
  { atOnce, eachMs, allMs }: typeof limits = limits,
): Promise<readonly Dialled[]> {
  const found = [...values].flatMap(([key, value]) => parseInstance(below, key, value) ?? []);
  const waiting = found.filter(({ protocol }) => protocol === 'tcp');
  const dialled: Dialled[] = [];
  const until = performance.now() + allMs;
  const next = async (): Promise<void> => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
      const { key, url, containerId: container, address, port } = one;
      const leftMs = until - performance.now();
      const result =
        leftMs <= 0 ? ({ outcome: 'not-tried' } as const) : await dial(address, port, Math.min(eachMs, leftMs));
      dialled.push({ key, url, container, ...result });
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, waiting.length) }, next));
  return dialled.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function dial(host: string, port: number, timeoutMs: number): Promise<Pick<Dialled, 'outcome' | 'detail'>> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (result: Pick<Dialled, 'outcome' | 'detail'>): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    let timer = setTimeout(() => finish({ outcome: 'timed-out' }), timeoutMs);
    const fine = (): void => finish({ outcome: 'fine' });
    socket.once('connect', () => {
      clearTimeout(timer);
      timer = setTimeout(fine, closedMs);
    });
    socket.once('data', fine);
    socket.once('end', () => finish({ outcome: 'closed' }));
    socket.once('error', ({ code = 'error' }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') finish({ outcome: 'refused' });
      else if (code === 'ECONNRESET') finish({ outcome: 'closed' });
      else finish(code === 'ETIMEDOUT' ? { outcome: 'timed-out' } : { outcome: 'unreachable', detail: code });
    });
  });
}

/** `3 refused, 1 timed out, 96 fine`. */
export function dialSummary(dialled: readonly Dialled[]): string {
  const outcomes = ['refused', 'timed-out', 'closed', 'unreachable', 'not-tried', 'fine'] as const;
  const counts = outcomes.map((outcome) => [dialled.filter((one) => one.outcome === outcome).length, outcome] as const);
  const shown = counts.filter(([count, outcome]) => count > 0 || outcome === 'fine');
  return shown.map(([count, outcome]) => `${count} ${outcome.replace('-', ' ')}`).join(', ');
}

export const isFine = ({ outcome }: Dialled): boolean => outcome === 'fine';

/** The option of both commands. */
export const dialOption = {
  type: 'boolean',
  description: 'Connect to each published TCP address as well, and say which do not accept (no connection is made)',
} as const;
