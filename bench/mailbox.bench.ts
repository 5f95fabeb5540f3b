/**
 * mailbox: how many puts and takes a second does the keyed mailbox do, by the number of ids and the
 * share of puts that find their id waiting already?
 *
 * In this process, on one thread. A round puts until so many ids wait, then takes them in batches of
 * 32 and is done with each, as the inspector does. The best of the rounds: what is slower has been
 * disturbed.
 */
import { KeyedMailbox } from '../src/actor/mailbox.ts';
import type { Bench } from './lib/bench.ts';

const batchMax = 32;
const putsPerRound = 200_000;

function round(ids: readonly string[], duplicates: number): { putsPerSecond: number; takesPerSecond: number } {
  const mailbox = new KeyedMailbox<string>((id) => id);
  let [putMs, takeMs, puts, takes] = [0, 0, 0, 0];
  while (puts < putsPerRound) {
    const begun = performance.now();
    for (let turn = 0; turn <= duplicates; turn++) for (const id of ids) mailbox.put(id);
    puts += ids.length * (duplicates + 1);
    const filled = performance.now();
    for (let batch = mailbox.take(batchMax); batch.length > 0; batch = mailbox.take(batchMax)) {
      for (const id of batch) mailbox.done(id);
      takes += batch.length;
    }
    putMs += filled - begun;
    takeMs += performance.now() - filled;
  }
  return { putsPerSecond: (puts / putMs) * 1000, takesPerSecond: (takes / takeMs) * 1000 };
}

export const mailbox: Bench = {
  name: 'mailbox',
  question: 'how many puts and takes a second, with so many ids and such a share of duplicates?',
  axis: 'ids',
  points: [10, 1_000, 100_000],
  seconds: 1,
  subjects: () => ['0 %', '50 %', '90 %'],
  columns: [
    { figure: 'putsPerSecond', heading: 'puts/s', digits: 0 },
    { figure: 'takesPerSecond', heading: 'takes/s', digits: 0 },
  ],
  measure: async (share, count, { seconds }) => {
    const ids = Array.from({ length: count }, (_, index) => index.toString(16).padStart(64, '0'));
    const fraction = Number.parseInt(share, 10) / 100;
    const duplicates = Math.round(fraction / (1 - fraction));
    let best = { putsPerSecond: 0, takesPerSecond: 0 };
    const until = performance.now() + seconds * 1000;
    do {
      const next = round(ids, duplicates);
      best = {
        putsPerSecond: Math.max(best.putsPerSecond, next.putsPerSecond),
        takesPerSecond: Math.max(best.takesPerSecond, next.takesPerSecond),
      };
    } while (performance.now() < until);
    return best;
  },
};
