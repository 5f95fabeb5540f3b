/**
 * The two small charts. Drawn as paths in a box of a hundred by forty that is stretched to its place, with
 * their scales beside it as text, so that nothing has to be measured. Words next to the charts say the same;
 * a screen reader skips the charts.
 */
import type { ComponentChildren } from 'preact';
import { type History, windowMs } from './history.ts';
import { latency, rate } from './words.ts';

const [width, height] = [100, 40];

interface FigureProps {
  readonly title: string;
  readonly says: ComponentChildren;
  /** From top to bottom, evenly. */
  readonly scale: readonly string[];
  readonly children: ComponentChildren;
}

function Figure({ title, says, scale, children }: FigureProps) {
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <p>{says}</p>
      </figcaption>
      <div class="plot" aria-hidden="true">
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none">
          <title>{title}</title>
          <path
            class="grid"
            d={scale.map((_, index) => `M0 ${(index * height) / (scale.length - 1)}h${width}`).join('')}
          />
          {children}
        </svg>
        <ol class="scale">
          {scale.map((label) => (
            <li key={label}>{label}</li>
          ))}
        </ol>
        <p class="span">
          <span>10 min ago</span>
          <span>now</span>
        </p>
      </div>
    </figure>
  );
}

/** A sample of the bar or line in the plot, for the legend. */
function Swatch({ of }: { readonly of: 'up' | 'down' | 'p50' | 'p99' }) {
  return (
    <svg class="swatch" viewBox="0 0 16 10" aria-hidden="true">
      <path class={of} d={of === 'up' || of === 'down' ? 'M4 0h8v10h-8z' : 'M0 5h16'} />
    </svg>
  );
}

/** Published containers as bars upwards, unpublished ones downwards. */
export function Churn({ history }: { readonly history: History }) {
  const rates = history.rates();
  const now = history.now();
  const top = niceCeiling(Math.max(1, ...rates.flatMap(({ published, unpublished }) => [published, unpublished])));
  const x = place(history);
  const bars = (value: (index: number) => number): string =>
    rates
      .map(({ fromMs, toMs }, index) => {
        const [left, right] = [x(fromMs), x(toMs)];
        const size = (value(index) / top) * (height / 2);
        // A hair of room between two bars.
        return size === 0
          ? ''
          : `M${left} ${height / 2}V${height / 2 - size}H${left + (right - left) * 0.8}V${height / 2}Z`;
      })
      .join('');
  const says = (
    <>
      <Swatch of="up" /> <b>{rate(now?.published ?? 0)}</b> published, <Swatch of="down" />{' '}
      <b>{rate(now?.unpublished ?? 0)}</b> withdrawn a second
    </>
  );
  return (
    <Figure title="Churn" says={says} scale={[`${rate(top)}/s`, '0', `${rate(top)}/s `]}>
      <path class="up" d={bars((index) => rates[index]?.published ?? 0)} />
      <path class="down" d={bars((index) => -(rates[index]?.unpublished ?? 0))} />
    </Figure>
  );
}

/** On a logarithmic scale: the difference between 2 ms and 200 ms matters, not between 200 and 210. */
export function PublishLatency({ history }: { readonly history: History }) {
  const points = history.quantiles();
  const overall = history.overall();
  const present = points.filter((point) => point !== undefined);
  // The scale ends at a millisecond: differences below do not matter.
  const floor = -3;
  const ceiling = Math.max(floor + 2, Math.ceil(Math.log10(Math.max(0.1, ...present.map(({ p99 }) => p99)))));
  const x = place(history);
  const y = (seconds: number): number =>
    height - ((Math.log10(Math.max(seconds, 10 ** floor)) - floor) / (ceiling - floor)) * height;
  const line = (value: 'p50' | 'p99'): string => {
    let pen = 'M';
    return points
      .map((point) => {
        if (point === undefined) {
          pen = 'M';
          return '';
        }
        const step = `${pen}${x(point.atMs)} ${y(point[value])}`;
        pen = 'L';
        return step;
      })
      .join('');
  };
  const scale = Array.from({ length: ceiling - floor + 1 }, (_, index) => power(ceiling - index));
  const says = overall ? (
    <>
      <Swatch of="p50" /> p50 <b>{latency(overall.p50)}</b>, <Swatch of="p99" /> p99 <b>{latency(overall.p99)}</b>, from
      event to etcd
    </>
  ) : (
    'nothing published in the last 10 min'
  );
  return (
    <Figure title="Publish latency" says={says} scale={scale}>
      <path class="p99" d={line('p99')} />
      <path class="p50" d={line('p50')} />
    </Figure>
  );
}

const place = (history: History) => {
  const startMs = history.endMs - windowMs;
  return (atMs: number): number => Math.round(((atMs - startMs) / windowMs) * width * 100) / 100;
};

const power = (exponent: number): string => (exponent < 0 ? `${10 ** (exponent + 3)} ms` : `${10 ** exponent} s`);

/** 1, 2 or 5 times a power of ten. */
function niceCeiling(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * ([1, 2, 5, 10].find((step) => step * unit >= value) ?? 10);
}
