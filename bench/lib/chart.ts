/** The chart of the README: latency over rate, throughput over workers, drawn by echarts from a report. */
import * as echarts from 'echarts';
import { figuresOf, type Report } from './report.ts';
import { subjectNames } from './subject.ts';

const [width, height] = [960, 380];
const colors: Readonly<Record<string, string>> = { discover: '#2563eb', naive: '#dc2626', floor: '#6b7280' };

export function drawChart({ about, benches }: Report): string {
  const rowsOf = (name: string) => benches.find((bench) => bench.name === name)?.rows ?? [];
  const pointsOf = (name: string) => [...new Set(rowsOf(name).map(({ point }) => point))].sort((a, b) => a - b);
  const number = (value: unknown): number | null => (typeof value === 'number' && value > 0 ? value : null);

  const latency = subjectNames.map((subject) => ({
    name: subject,
    type: 'line' as const,
    data: pointsOf('churn').map((rate) => [rate, number(figuresOf(rowsOf('churn'), rate, subject)?.publishP99Ms)]),
    itemStyle: { color: colors[subject] },
    symbolSize: 6,
  }));
  const workers = pointsOf('workers');
  const perSecond = (point: number, subject: string) =>
    number(figuresOf(rowsOf('workers'), point, subject)?.lifecyclesPerSecond);
  const bars = {
    type: 'bar' as const,
    xAxisIndex: 1,
    yAxisIndex: 1,
    data: workers.map((point) => perSecond(point, 'discover')),
    itemStyle: { color: colors.discover },
    markLine: {
      symbol: 'none',
      data: ['naive', 'floor'].flatMap((subject) => {
        const yAxis = perSecond(workers[0] ?? 0, subject);
        const lineStyle = { color: colors[subject] };
        return yAxis === null
          ? []
          : [{ yAxis, lineStyle, label: { formatter: subject, position: 'insideEndTop' as const } }];
      }),
    },
  };
  const rates = pointsOf('churn');
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: [
      { text: 'publish p99, ms', left: 40, top: 8, textStyle: { fontSize: 14 } },
      { text: 'lifecycles/s, 256 in flight', left: 540, top: 8, textStyle: { fontSize: 14 } },
      {
        text: `${about.machine} · ${about.versions?.split(', ').slice(0, 3).join(', ')} · ${about.commit} · ${about.date?.slice(0, 10)}`,
        left: 40,
        bottom: 6,
        textStyle: { fontSize: 10, fontWeight: 'normal', color: '#6b7280' },
      },
    ],
    legend: { left: 180, top: 10, data: [...subjectNames] },
    grid: [
      { left: 50, top: 50, width: 400, height: 250 },
      { left: 560, top: 50, width: 370, height: 250 },
    ],
    xAxis: [
      {
        type: 'log',
        name: 'starts/s',
        nameLocation: 'middle',
        nameGap: 24,
        min: rates[0] ?? 1,
        max: rates.at(-1) ?? 10,
      },
      {
        type: 'category',
        name: 'workers',
        nameLocation: 'middle',
        nameGap: 24,
        data: workers.map(String),
        gridIndex: 1,
      },
    ],
    yAxis: [
      { type: 'log', min: 1 },
      { type: 'value', gridIndex: 1 },
    ],
    series: [...latency, bars],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
