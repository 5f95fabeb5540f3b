/**
 * mailbox: how many puts and takes a second does the keyed mailbox do, by the number of ids and the
 * share of puts that find their id waiting already?
 *
 * In this process, on one thread. A round puts every id, some of them again, then takes all in
 * batches of 32 and is done with each, as the inspector does. The best of the rounds: what is slower
 * has been disturbed.
 */
import { KeyedMailbox } from '../src/actor/mailbox.ts';
import type { Bench } from './lib/bench.ts';

const batchMax = 32;
const putsPerRound = 100_000;

function round(ids: readonly string[], times: number): readonly [putsPerSecond: number, takesPerSecond: number] {
  const mailbox = new KeyedMailbox<string>((id) => id);
  let [putMs, takeMs, puts, takes] = [0, 0, 0, 0];
  while (puts < putsPerRound) {
    const begunMs = performance.now();
    for (let time = 0; time < times; time++) for (const id of ids) mailbox.put(id);
    puts += ids.length * times;
    const filledMs = performance.now();
    for (let batch = mailbox.take(batchMax); batch.length > 0; batch = mailbox.take(batchMax)) {
      for (const id of batch) mailbox.done(id);
      takes += batch.length;
    }
    putMs += filledMs - begunMs;
    takeMs += performance.now() - filledMs;
  }
  return [(puts / putMs) * 1000, (takes / takeMs) * 1000];
}

export const mailbox: Bench = {
  name: 'mailbox',
  question: 'how many puts and takes a second, with so many ids and such a share of duplicates?',
  axis: 'ids',
  points: [10, 1_000, 100_000],
  seconds: 1,
  subjects: () => ['0 % again', '50 % again', '90 % again'],
  columns: 'putsPerSecond takesPerSecond',
  measure: async (share, count, { seconds }) => {
    const ids = Array.from({ length: count }, (_, index) => index.toString(16).padStart(64, '0'));
    const times = Math.round(100 / (100 - Number.parseInt(share, 10)));
    let [putsPerSecond, takesPerSecond] = [0, 0];
    for (const untilMs = performance.now() + seconds * 1000; performance.now() < untilMs; ) {
      const [puts, takes] = round(ids, times);
      [putsPerSecond, takesPerSecond] = [Math.max(putsPerSecond, puts), Math.max(takesPerSecond, takes)];
    }
    return { putsPerSecond, takesPerSecond };
  },
};
