/** A log that keeps what it is told, for tests that ask what was said and how often. */
import type { Log } from '../../src/log.ts';

export interface LogEntry {
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly fields: object;
  readonly message: string;
}

export interface RecordingLog extends Log {
  /** Everything, in order, what was told to a child as well. */
  readonly entries: readonly LogEntry[];
  /** The errors and warnings. */
  readonly loud: readonly LogEntry[];
}

export function recordingLog(): RecordingLog {
  const entries: LogEntry[] = [];
  const at = (level: LogEntry['level']) => (fields: object, message: string) =>
    void entries.push({ level, fields, message });
  const log: RecordingLog = {
    entries,
    get loud() {
      return entries.filter(({ level }) => level === 'error' || level === 'warn');
    },
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    child: () => log,
  };
  return log;
}
