/** Numbers about numbers and about processes: percentiles, and what /proc knows of a pid. Linux only. */
import { readFileSync } from 'node:fs';

/** What one measurement gave, by name with its unit. */
export type Figures = Readonly<Record<string, number | string>>;

/** The smallest value that at least the fraction `q` of all do not exceed (nearest rank). NaN of none. */
export function percentile(values: readonly number[], q: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

/** User and system time from a `stat` file of /proc. The kernel counts in ticks of 10 ms, see proc(5). */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** CPU of all threads, memory now, and the most it ever had. Zeros once the process is gone. */
export function usageOf(pid: number): { cpuMs: number; rssMb: number; peakMb: number } {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const mb = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1024;
    return { cpuMs: cpuMsOf(readFileSync(`/proc/${pid}/stat`, 'utf8')), rssMb: mb('VmRSS'), peakMb: mb('VmHWM') };
  } catch {
    return { cpuMs: 0, rssMb: 0, peakMb: 0 };
  }
}
