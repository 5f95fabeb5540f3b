/**
 * Messages to the service manager, by the protocol of sd_notify(3): ready, reloading, stopping, a status line, and the
 * watchdog. Loaded only if NOTIFY_SOCKET is set.
 *
 * The protocol needs a datagram on a unix socket, which Node cannot send: its unix sockets are streams, its datagrams go
 * over IP, and an addon would need a compiler on every host. So systemd-notify, which is part of systemd, sends it. The
 * manager finds the unit of a message by the process of the sender, and has to do so before that process is gone:
 * systemd-notify waits for it (BARRIER=1, since systemd 246). Because it is not the main process, the unit has
 * NotifyAccess=all.
 *
 * It is not started from here: a fork stops the event loop for as long as it takes to share the memory, which was 25 ms at
 * 150 MB and 120 ms at 1 GB, each time the watchdog is fed. A shell, started once while there is little memory, runs
 * systemd-notify for each line that it reads. It ends with the pipe, however this process ends.
 *
 * A stop waits for the last message, and for the shell to end: a manager waits for every process of a unit, and the end of
 * the main one is the event that it never misses.
 *
 * Messages go one at a time, in order. A message that failed is sent again at the next check, because a lost READY=1 would
 * make a start that never ends. Nothing here throws: a message that cannot be sent is a line in the log.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Clock, deadline } from '../actor/clock.ts';
import { OutageLog } from '../actor/outage-log.ts';
import type { Log } from '../log.ts';

/** The time between two checks for something to report. */
const checkEveryMs = 10_000;
/** Messages to the watchdog in one of its periods: two may be lost. */
const feedsPerPeriod = 3;
/** The period of the watchdog at most, as a share of `etcd.ttl`: a process that is stuck starts again before its keys expire. */
const watchdogShare = 0.4;
/** A shorter period would cost more than it is worth: each message is a process. */
const watchdogLeastMs = 1_000;
/** Each check extends a start by so long: a process that waits for Docker or etcd is not stuck. */
const startExtensionMs = 60_000;
/** `TimeoutStopSec` of the unit. */
const usualStopMs = 15_000;
/** systemd-notify waits five seconds for the manager. */
const sendTimeoutMs = 10_000;
/** A manager that does not listen holds up a stop for so long at most. */
const lastMessageMs = 1_000;

export interface Condition {
  /** The agent's parts are kept running. The check itself shows that the event loop turns. */
  readonly isAlive: boolean;
  /** One line, for people. */
  readonly status: string;
  /** `etcd.ttl`. */
  readonly ttlSeconds: number;
}

export interface ServiceManagerParts {
  readonly clock: Clock;
  readonly log: Log;
  /** Sends one message, of assignments such as `READY=1`. */
  readonly send: (message: readonly string[]) => Promise<void>;
  /** Ends the process that was started for sending. */
  readonly close: () => Promise<void>;
  /** The period that the unit gives. Undefined: the unit has no watchdog. */
  readonly watchdogMs: number | undefined;
  readonly read: () => Condition;
}

export class ServiceManager {
  readonly #parts: ServiceManagerParts;
  readonly #outage: OutageLog;
  /** The period of the watchdog as the manager knows it. */
  #watchdogMs: number | undefined;
  /** Messages in their order. A failed one is sent again, except those that the next check repeats. */
  readonly #queue: (readonly string[])[] = [];
  #sending: Promise<void> | undefined;
  #isReady = false;
  #isStopping = false;
  #status = '';

  constructor(parts: ServiceManagerParts) {
    const { clock, log, watchdogMs } = parts;
    this.#parts = parts;
    this.#watchdogMs = watchdogMs;
    this.#outage = new OutageLog(clock, log, 'cannot notify the service manager');
    this.#check();
  }

  /** The running containers are published. Only the first call sends a message. */
  ready(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#tellReady();
  }

  reloading(): void {
    // CLOCK_MONOTONIC, which is Node's clock on Linux.
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  /** The reload is over, successful or not. Before the first `ready`, the message of `ready` is still to come. */
  reloaded(): void {
    if (this.#isReady) this.#tellReady();
  }

  /** `drainMs`: how much longer a stop takes than the unit expects; 0 if it does not. */
  stopping(drainMs = 0): void {
    this.#isStopping = true;
    const extension = drainMs > 0 ? [`EXTEND_TIMEOUT_USEC=${(usualStopMs + drainMs) * 1000}`] : [];
    this.#tell('STOPPING=1', `STATUS=${drainMs > 0 ? 'Draining' : 'Stopping'}`, ...extension);
  }

  /** Sends no more. Resolves when the last message has arrived, or is late, and the shell has ended. */
  async stopped(): Promise<void> {
    const { clock, close } = this.#parts;
    this.#isStopping = true;
    await deadline(clock, lastMessageMs, this.#sending ?? Promise.resolve(), () => 'late').catch(() => {});
    await close();
  }

  #check(): void {
    if (this.#isStopping) return;
    const { clock, read } = this.#parts;
    const { isAlive, status, ttlSeconds } = read();
    const watchdogMs = this.#periodFor(ttlSeconds);
    const message: string[] = [];
    if (status !== this.#status) message.push(`STATUS=${status}`);
    if (watchdogMs !== undefined && watchdogMs !== this.#watchdogMs) message.push(`WATCHDOG_USEC=${watchdogMs * 1000}`);
    if (isAlive && watchdogMs !== undefined) message.push('WATCHDOG=1');
    if (isAlive && !this.#isReady) message.push(`EXTEND_TIMEOUT_USEC=${startExtensionMs * 1000}`);
    if (this.#queue.length > 0) this.#send();
    else if (message.length > 0) this.#tell(...message);
    clock.after(Math.min(checkEveryMs, (watchdogMs ?? Number.POSITIVE_INFINITY) / feedsPerPeriod), () => this.#check());
  }

  /** The period of the unit, shorter where the keys would expire first. A reload may change `etcd.ttl`. */
  #periodFor(ttlSeconds: number): number | undefined {
    const { watchdogMs } = this.#parts;
    const mostMs = Math.max(watchdogLeastMs, ttlSeconds * 1000 * watchdogShare);
    return watchdogMs === undefined ? undefined : Math.min(watchdogMs, mostMs);
  }

  #tellReady(): void {
    this.#tell('READY=1', `STATUS=${this.#parts.read().status}`);
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
        this.#status = valueIn(message, 'STATUS') ?? this.#status;
        const period = valueIn(message, 'WATCHDOG_USEC');
        if (period !== undefined) this.#watchdogMs = Number(period) / 1000;
        this.#queue.shift();
      }
    } catch (error) {
      this.#outage.failed(error);
      if (this.#queue[0]?.every((line) => /^(STATUS|WATCHDOG|EXTEND)/.test(line))) this.#queue.shift();
    }
  }
}

const valueIn = (message: readonly string[], name: string): string | undefined =>
  message.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1);

/** Starts the shell, while there is little memory to share. The rest follows when the agent runs. */
export function connect(clock: Clock, env: NodeJS.ProcessEnv, pid: number) {
  const messenger = new Messenger(clock, env);
  const watchdogMs = watchdogOf(env, pid);
  const send = (message: readonly string[]) => messenger.send(message);
  const close = () => messenger.close();
  return (log: Log, read: () => Condition) => new ServiceManager({ clock, log, read, watchdogMs, send, close });
}

/** The period of the watchdog; undefined if there is none for this process. */
export function watchdogOf(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const { WATCHDOG_USEC: period = '', WATCHDOG_PID: watched } = env;
  // Inherited from a process that is watched itself, the variable does not concern this one.
  const isOurs = watched === undefined || watched === String(pid);
  return isOurs && /^[1-9]\d{0,14}$/.test(period) ? Number(period) / 1000 : undefined;
}

/** A tab parts the assignments of a message; an answer is one line. Signals of the terminal are for discover alone. */
const script = `trap '' HUP INT TERM; set -f; IFS='\t\n'
while read -r line; do said=$(systemd-notify $line 2>&1 </dev/null); echo $? $said; done`;

/** Sends messages through systemd-notify: see above. */
class Messenger {
  readonly #clock: Clock;
  readonly #env: NodeJS.ProcessEnv;
  #shell: ChildProcess | undefined;
  #answer: (text: string) => void = () => {};

  constructor(clock: Clock, { NOTIFY_SOCKET, PATH }: NodeJS.ProcessEnv) {
    this.#clock = clock;
    // Only the variables that the shell needs: passwords may be in the environment too.
    this.#env = { NOTIFY_SOCKET, PATH };
    this.#shell = this.#start();
  }

  /** Rejects with the reason why it could not be sent. One call at a time. */
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
    // A write to a shell that has ended: `exit` above reports it.
    shell.stdin.on('error', () => {});
    return shell;
  }
}
