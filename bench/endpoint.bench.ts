/**
 * endpoint: what does it cost to be looked at? discover without its HTTP endpoint, with it, and with it while Prometheus
 * scrapes each second and a page is open: at rest (0 starts a second, 200 containers) and under churn.
 *
 * What an open page costs the agent are its two streams, which are read here as a browser reads them; what the browser
 * does with them is its own affair. The asker is this process, whose CPU is in no figure.
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureChurn, openWarm } from './churn.bench.ts';
import { type Bench, exactFigures, type Settings } from './lib/bench.ts';
import { Lives } from './lib/lives.ts';
import type { Figures } from './lib/measure.ts';
import { httpSocketBeside } from './lib/subject.ts';
import { openWorld, type World } from './lib/world.ts';

const standing = 200;
const calmDownMs = 3_000;
const scrapeEveryMs = 1_000;

/** A scrape each second and the streams of a page, until disposed of. Counts the answers. */
class Onlooker implements Disposable {
  scrapes = 0;
  events = 0;
  readonly #socketPath: string;
  readonly #open = new Set<http.ClientRequest>();
  #timer: NodeJS.Timeout | undefined;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  begin(): void {
    this.#timer = setInterval(
      () =>
        this.#get(
          '/metrics',
          () => {},
          () => this.scrapes++,
        ),
      scrapeEveryMs,
    );
    for (const stream of ['/status?watch', '/v1/hosts?watch']) {
      this.#get(stream, (text) => {
        this.events += text.split('\n\n').length - 1;
      });
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const request of this.#open) request.destroy();
  }

  #get(where: string, onText: (text: string) => void, onEnd = () => {}): void {
    const options = { socketPath: this.#socketPath, path: where, agent: false, headers: { Host: 'localhost' } };
    const request = http.get(options, (response) => {
      response
        .setEncoding('utf8')
        .on('data', onText)
        .on('end', onEnd)
        .on('error', () => {});
    });
    this.#open.add(request);
    request.on('error', () => {}).on('close', () => this.#open.delete(request));
  }
}

const lives = new Lives<World>();

async function measure(subject: string, rate: number, { seconds, workers }: Settings): Promise<Figures> {
  const serves = subject === 'off' ? undefined : 'listen';
  const options = { subject: 'discover', standing, workers, serves } as const;
  return lives.measure(
    `${subject} ${rate}`,
    () => (rate === 0 ? openWorld(options) : openWarm(options)),
    async (world) => {
      using onlooker = new Onlooker(httpSocketBeside(world.engine.socketPath));
      if (subject === 'asked') onlooker.begin();
      const figures = await (rate === 0 ? atRest(world, seconds) : measureChurn(world, rate, seconds));
      return { ...figures, scrapes: onlooker.scrapes, streamed: onlooker.events };
    },
  );
}

async function atRest(world: World, seconds: number): Promise<Figures> {
  await sleep(calmDownMs);
  const [before = 0] = await world.cpuMs();
  await sleep(seconds * 1000);
  const [after = 0] = await world.cpuMs();
  return { cpuPercent: (after - before) / seconds / 10, ...exactFigures(await world.settle()) };
}

export const endpoint: Bench = {
  name: 'endpoint',
  question: 'what does it cost to be scraped each second and shown on a page, at rest and at so many starts a second?',
  axis: 'starts/s',
  points: [0, 500],
  seconds: 10,
  subjects: () => ['off', 'listening', 'asked'],
  named: true,
  columns: 'cpuPercent cpuMsEach publishP50Ms publishP99Ms unpublishP99Ms loopP99Ms scrapes streamed exact',
  measure,
  finish: () => lives.end(),
};
