/**
 * What the service manager is told, by the protocol of sd_notify(3): that discover is ready, reloads or stops, how
 * it is doing, and that it is not stuck. Loaded only where NOTIFY_SOCKET asks for it.
 *
 * The protocol wants a datagram on a unix socket, which Node cannot send: its unix sockets are streams, its
 * datagrams go over IP, and an addon would want a compiler on every host. So systemd-notify sends it, which is
 * there wherever systemd is. The manager tells by the sender's process which unit a message is about, and has to
 * look before that process is gone: systemd-notify waits for it (BARRIER=1, since systemd 246), and because it is not
 * the main process the unit says NotifyAccess=all.
 *
 * It is not started from here: a fork stops the event loop for as long as the memory to be shared is large, which was
 * 25 ms at 150 MB and 120 ms at 1 GB, each time the watchdog is fed. A shell, started once while there is little,
 * runs it for each line that it reads, and ends when the pipe does, however this process has ended.
 *
 * A stop waits for the last message, and for the shell to be gone: a manager waits for every process of a unit, and hears
 * most surely of the end of the main one.
 *
 * Messages go one at a time, in order; what has failed goes again with the next look, for a lost READY=1 would make
 * a start that never ends. Nothing here throws: what cannot be told is a line in the log.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Clock, deadline } from '../actor/clock.ts';
import { OutageLog } from '../actor/outage-log.ts';
import type { Log } from '../log.ts';

/** How often is looked whether there is anything to say. */
const lookEveryMs = 10_000;
/** How often the watchdog is fed in its period: two may be lost. */
const feedsPerPeriod = 3;
/** By which a start may go on, after each look: whoever waits for Docker or etcd is not stuck. */
const startExtensionMs = 60_000;
/** systemd-notify waits five seconds for the manager. */
const sendTimeoutMs = 10_000;
/** A stop is not held up for longer by a manager that does not listen. */
const lastMessageMs = 1_000;

export interface Condition {
  /** The agent's parts are kept running. That the event loop turns is shown by the question. */
  readonly isAlive: boolean;
  /** One line, for people. */
  readonly status: string;
}

export interface ServiceManagerParts {
  readonly clock: Clock;
  readonly log: Log;
  /** Sends one message, of assignments such as `READY=1`. */
  readonly send: (message: readonly string[]) => Promise<void>;
  /** Ends what was started to send. */
  readonly close: () => Promise<void>;
  /** Undefined: there is no watchdog to be fed. */
  readonly watchdogMs: number | undefined;
  readonly look: () => Condition;
}

export class ServiceManager {
  readonly #parts: ServiceManagerParts;
  readonly #outage: OutageLog;
  readonly #everyMs: number;
  /** What has to arrive, in this order; and before it what may be lost, for the next look says it again. */
  readonly #queue: (readonly string[])[] = [];
  #sending: Promise<void> | undefined;
  #isReady = false;
  #isStopping = false;
  #status = '';

  constructor(parts: ServiceManagerParts) {
    const { clock, log, watchdogMs = Number.POSITIVE_INFINITY } = parts;
    this.#parts = parts;
    this.#outage = new OutageLog(clock, log, 'service manager cannot be told');
    this.#everyMs = Math.min(lookEveryMs, watchdogMs / feedsPerPeriod);
    this.#look();
  }

  /** What runs is published; only the first time is news. */
  ready(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#tellReady();
  }

  reloading(): void {
    // By CLOCK_MONOTONIC, which is what Node counts by on Linux.
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  /** However it went. Not before it was ready for the first time, which is still to be told then. */
  reloaded(): void {
    if (this.#isReady) this.#tellReady();
  }

  stopping(): void {
    this.#isStopping = true;
    this.#tell('STOPPING=1', 'STATUS=Stopping');
  }

  /** Tells no more. Resolves when what was told is through, or late, and no process is left that was started for it. */
  async stopped(): Promise<void> {
    const { clock, close } = this.#parts;
    this.#isStopping = true;
    await deadline(clock, lastMessageMs, this.#sending ?? Promise.resolve(), () => 'late').catch(() => {});
    await close();
  }

  #look(): void {
    if (this.#isStopping) return;
    const { clock, look, watchdogMs } = this.#parts;
    const { isAlive, status } = look();
    const message: string[] = [];
    if (status !== this.#status) message.push(`STATUS=${status}`);
    if (isAlive && watchdogMs !== undefined) message.push('WATCHDOG=1');
    if (isAlive && !this.#isReady) message.push(`EXTEND_TIMEOUT_USEC=${startExtensionMs * 1000}`);
    if (this.#queue.length > 0) this.#send();
    else if (message.length > 0) this.#tell(...message);
    clock.after(this.#everyMs, () => this.#look());
  }

  #tellReady(): void {
    this.#tell('READY=1', `STATUS=${this.#parts.look().status}`);
  }

  #tell(...message: string[]): void {
    this.#queue.push(message);
    this.#send();
  }

  #send(): void {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  async #sendAll(): Promise<void> {
    try {
      for (let message = this.#queue[0]; message !== undefined; message = this.#queue[0]) {
        await this.#parts.send(message);
        this.#outage.over();
        this.#status = message.find((line) => line.startsWith('STATUS='))?.slice('STATUS='.length) ?? this.#status;
        this.#queue.shift();
      }
    } catch (error) {
      this.#outage.failed(error);
      if (this.#queue[0]?.every((line) => /^(STATUS|WATCHDOG|EXTEND)/.test(line))) this.#queue.shift();
    }
  }
}

/** Prepares for telling the manager, while there is little memory to share: the rest when there is what to tell. */
export function connect(clock: Clock, env: NodeJS.ProcessEnv, pid: number) {
  const messenger = new Messenger(clock, env);
  const watchdogMs = watchdogOf(env, pid);
  const [send, close] = [(message: readonly string[]) => messenger.send(message), () => messenger.close()];
  return (log: Log, look: () => Condition) => new ServiceManager({ clock, log, look, watchdogMs, send, close });
}

/** The time in which the manager wants to hear of this process; undefined where it does not. */
export function watchdogOf(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const { WATCHDOG_USEC: period = '', WATCHDOG_PID: watched } = env;
  // Inherited from a process that is watched itself, it is not about this one.
  const isOurs = watched === undefined || watched === String(pid);
  return isOurs && /^[1-9]\d{0,14}$/.test(period) ? Number(period) / 1000 : undefined;
}

/** There is a tab between the assignments of a message; an answer is one line. Signals are meant for discover alone. */
const script = `trap '' HUP INT TERM; set -f; IFS='\t\n'
while read -r line; do said=$(systemd-notify $line 2>&1 </dev/null); echo $? $said; done`;

/** Sends messages by way of systemd-notify: see above. */
class Messenger {
  readonly #clock: Clock;
  readonly #env: NodeJS.ProcessEnv;
  #shell: ChildProcess | undefined;
  #answer: (text: string) => void = () => {};

  constructor(clock: Clock, { NOTIFY_SOCKET, PATH }: NodeJS.ProcessEnv) {
    this.#clock = clock;
    // No more than it needs: passwords may be in the environment as well.
    this.#env = { NOTIFY_SOCKET, PATH };
    this.#shell = this.#start();
  }

  /** Rejects with why it could not be sent. Not to be called before the last call has settled. */
  async send(message: readonly string[]): Promise<void> {
    this.#shell ??= this.#start();
    const { stdin } = this.#shell;
    const answer = new Promise<string>((resolve) => {
      this.#answer = resolve;
    });
    stdin?.write(`${message.map((line) => line.replaceAll(/[\t\r\n]/g, ' ')).join('\t')}\n`);
    const text = await deadline(this.#clock, sendTimeoutMs, answer, () => new Error('no answer in time')).catch(
      (error: unknown) => {
        void this.close();
        throw error;
      },
    );
    if (!/^0\b/.test(text)) throw new Error(text);
  }

  async close(): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    if (shell?.kill('SIGKILL')) await once(shell, 'exit');
  }

  #start(): ChildProcess {
    const shell = spawn('/bin/sh', ['-c', script], { env: this.#env, stdio: ['pipe', 'pipe', 'ignore'] });
    const lost = (reason: string) => {
      if (this.#shell !== shell) return;
      this.#shell = undefined;
      this.#answer(reason);
    };
    let rest = '';
    shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      rest += text;
      const end = rest.indexOf('\n');
      if (end < 0) return;
      this.#answer(rest.slice(0, end));
      rest = rest.slice(end + 1);
    });
    shell.on('error', ({ message }) => lost(message));
    shell.on('exit', () => lost('the shell that runs systemd-notify has ended'));
    // Written to one that is gone: its end is told of above.
    shell.stdin.on('error', () => {});
    return shell;
  }
}
