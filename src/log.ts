/**
 * Logging: JSON lines, or readable text on a terminal.
 *
 * Foreign text (names, entries, error texts of servers) only goes into fields, where JSON escapes it, and never into a
 * message. Environment values, credentials and whole documents are never logged.
 */

import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { DiscoverError, messageOf } from './errors.ts';

type Write = (fields: Record<string, unknown>, message: string) => void;

export interface Log {
  readonly error: Write;
  readonly warn: Write;
  readonly info: Write;
  readonly debug: Write;
  child(fields: Record<string, unknown>): Log;
}

export interface LogSink {
  readonly log: Log;
  /** Opens the log file again, after a rotation moved it away. */
  reopen(): void;
  /** Writes the buffered lines; for the last moment of the process. */
  flush(): void;
  /** Writes the buffered lines and closes the file. Later lines are lost. */
  close(): void;
}

/** The longest wait of a line for further lines; all lines that wait are written together. */
const gatherMs = 50;

let stampedAt = 0;
let stamp = '';

/** As pino's own. Many lines are of one millisecond, and to format the time is a quarter of the cost of a line. */
function timestamp(): string {
  const now = Date.now();
  if (now !== stampedAt) {
    stampedAt = now;
    stamp = `,"time":"${new Date(now).toISOString()}"`;
  }
  return stamp;
}

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {}, child: () => silentLog };

/** A log to `file`, else to standard output; readable text if that is a terminal. */
export async function openLog(options: {
  level: 'error' | 'info' | 'debug' | 'trace';
  file?: string;
}): Promise<LogSink> {
  const settings = {
    level: options.level,
    base: null,
    timestamp,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (options.file === undefined && process.stdout.isTTY) {
    const { default: pretty } = await import('pino-pretty');
    const log = pino(
      settings,
      pretty({ sync: true, singleLine: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }),
    );
    return { log, reopen() {}, flush() {}, close() {} };
  }
  if (options.file !== undefined) closeSync(openForAppending(options.file));
  // 4 MiB: a reader that stalls costs log lines and no more memory. A closed pipe must not end the process.
  const destination = pino.destination({ dest: options.file ?? 1, sync: false, maxLength: 4 << 20 });
  destination.on('error', () => {});
  // One write for each line costs a busy host more than formatting the line.
  let lines = '';
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  const writeOut = () => {
    clearTimeout(timer);
    timer = undefined;
    destination.write(lines);
    lines = '';
  };
  const gathered = {
    write(line: string) {
      if (isClosed) return;
      lines += line;
      timer ??= setTimeout(writeOut, gatherMs);
    },
  };
  return {
    log: pino(settings, gathered),
    reopen() {
      if (options.file !== undefined) destination.reopen();
    },
    flush() {
      try {
        writeOut();
        destination.flushSync();
      } catch {
        // The destination is not open yet, or its reader is gone.
      }
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      writeOut();
      destination.end();
    },
  };
}

/** A log that cannot be written is a mistake in the configuration, so it is reported at the start. */
function openForAppending(file: string): number {
  try {
    mkdirSync(dirname(file), { recursive: true });
    return openSync(file, 'a');
  } catch (error) {
    throw new DiscoverError(
      'CONFIG_INVALID',
      `log: must be a file that can be written, got "${file}": ${messageOf(error)}`,
    );
  }
}
