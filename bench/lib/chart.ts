/** The charts, drawn by echarts: of a report, latency over rate and throughput over workers; of a soak, what was held. */
import * as echarts from 'echarts';
import { subjectNames } from './bench.ts';
import { figuresOf, type Report } from './report.ts';
import type { Judged, Look } from './soak.ts';

const colors: Readonly<Record<string, string>> = { discover: '#2563eb', naive: '#dc2626', floor: '#6b7280' };

export function drawChart({ about, benches }: Report): string {
  const rowsOf = (name: string) => benches.find((bench) => bench.name === name)?.rows ?? [];
  const pointsOf = (name: string) => [...new Set(rowsOf(name).map(({ point }) => point))].sort((a, b) => a - b);
  const figure = (name: string, point: number, subject: string, which: string) =>
    Number(figuresOf(rowsOf(name), point, subject)[which]) || null;
  const [rates, threads] = [pointsOf('churn'), pointsOf('workers')];
  const title = { top: 8, textStyle: { fontSize: 14 } };
  const small = { fontSize: 10, fontWeight: 'normal', color: '#6b7280' } as const;
  const axis = { nameLocation: 'middle', nameGap: 26 } as const;
  const latency = subjectNames.map((subject) => ({
    ...{ name: subject, type: 'line', symbolSize: 6, itemStyle: { color: colors[subject] } },
    data: rates.map((rate) => figure('churn', rate, subject, 'publishP99Ms')),
  }));
  const levels = ['naive', 'floor'].flatMap((subject) => {
    const yAxis = figure('workers', 0, subject, 'lifecyclesPerSecond');
    const label = { formatter: subject, position: 'insideEndTop' };
    return yAxis === null ? [] : [{ yAxis, label, lineStyle: { color: colors[subject] } }];
  });
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 960, height: 380 });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: [
      { text: 'publish p99, ms', left: 40, ...title },
      { text: 'lifecycles/s, 256 in flight', left: 550, ...title },
      {
        text: `${about.machine} · ${about.versions?.split(', ').slice(0, 3).join(', ')}`,
        left: 40,
        bottom: 18,
        textStyle: small,
      },
      { text: `commit ${about.commit} · ${about.date?.slice(0, 10)}`, left: 40, bottom: 4, textStyle: small },
    ],
    legend: { left: 200, top: 10, data: [...subjectNames] },
    grid: [
      { left: 55, top: 50, width: 400, height: 240 },
      { left: 565, top: 50, width: 370, height: 240 },
    ],
    xAxis: [
      { type: 'category', name: 'starts/s', ...axis, data: rates.map(String) },
      { type: 'category', name: 'workers', ...axis, data: threads.map(String), gridIndex: 1 },
    ],
    yAxis: [{ type: 'log' }, { type: 'value', gridIndex: 1 }],
    series: [
      ...latency,
      {
        ...{ type: 'bar', xAxisIndex: 1, yAxisIndex: 1, itemStyle: { color: colors.discover } },
        data: threads.map((count) => figure('workers', count, 'discover', 'lifecyclesPerSecond')),
        markLine: { symbol: 'none', data: levels },
      },
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** Memory on the left, counts on the right, over the events of the engine. */
export function drawSoak(looks: readonly Look[], about: Report['about']): string {
  const line = (what: Judged | 'rssMb', side: number) => ({
    ...{ name: what, type: 'line', showSymbol: false, xAxisIndex: side, yAxisIndex: side },
    data: looks.map((look) => [look.events, look[what]]),
  });
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 960, height: 320 });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: {
      text: `${about.machine} · commit ${about.commit} · ${about.date?.slice(0, 10)}`,
      ...{ left: 40, bottom: 4, textStyle: { fontSize: 10, fontWeight: 'normal', color: '#6b7280' } },
    },
    legend: { top: 8 },
    grid: [
      { left: 55, top: 50, width: 390, height: 190 },
      { left: 545, top: 50, width: 390, height: 190 },
    ],
    xAxis: [0, 1].map((gridIndex) => ({
      ...{ type: 'value', name: 'events', nameLocation: 'middle', nameGap: 26, max: 'dataMax', gridIndex },
    })),
    yAxis: [0, 1].map((gridIndex) => ({ type: 'value', gridIndex })),
    series: [
      ...(['rssMb', 'heapMb', 'buffersMb'] as const).map((what) => line(what, 0)),
      ...(['connections', 'descriptors', 'timers', 'handles', 'listeners'] as const).map((what) => line(what, 1)),
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
