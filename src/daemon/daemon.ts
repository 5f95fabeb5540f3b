/**
 * The agent as a process: its log, its endpoint, signals, the service manager, and the configuration read again.
 *
 *     SIGINT, SIGTERM   stop; a second one ends at once
 *     SIGHUP            open the log file again and read the configuration again
 *     SIGUSR2           log the counters
 *
 * A configuration that was read again counts once an agent works with it (`replacement.ts`): until then, and if none
 * ever does, everything goes on as it was. Another SIGHUP, or the end, calls off what is being tried; once it has
 * taken over they are about it.
 */

import { constants } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../actor/clock.ts';
import type { Agent } from '../agent.ts';
import type { Config } from '../config/options.ts';
import type { Resolved } from '../config/resolve.ts';
import { codeOf, type DiscoverError, messageOf, problemText } from '../errors.ts';
import { exitUnexpected } from '../exit-codes.ts';
import type { Endpoint } from '../http/endpoint.ts';
import { type Log, type LogSink, openLog } from '../log.ts';
import type { Predecessor } from '../registry/lease-keeper.ts';
import { version } from '../version.ts';
import type { connect as connectManager, ServiceManager } from './service-manager.ts';

/** Stages have time limits of their own; this is for what those did not foresee. */
const stopTimeoutMs = 9_500;

/** One configuration at work. */
interface Generation {
  readonly config: Config;
  readonly sink: LogSink;
  readonly agent: Agent;
  endpoint?: Endpoint | undefined;
}

/** Runs until it is told to stop, or has to: then it returns why. `read` is what a reload begins with. */
export async function runDaemon(first: Resolved, read: () => Promise<Resolved>): Promise<DiscoverError | undefined> {
  const { env, pid } = process;
  const connect = env.NOTIFY_SOCKET ? (await import('./service-manager.ts')).connect(systemClock, env, pid) : undefined;
  return new Daemon(await launch(first, await openLog(first.config.log)), read, connect).run();
}

/** Begins with a configuration. What is served over HTTP is not opened yet. */
async function launch({ config, warnings }: Resolved, sink: LogSink, predecessor?: Predecessor): Promise<Generation> {
  const { log } = sink;
  for (const warning of warnings) log.warn({}, problemText(warning));
  // The threads start up while this one loads what it needs for Docker and etcd.
  const { createInspectionPool } = await import('../inspect/pool.ts');
  const pool = createInspectionPool(config);
  const { createAgent } = await import('../agent.ts');
  const agent = createAgent(config, { log, pool, predecessor });
  agent.once('start', () => log.info({ host: config.host.id, published: agent.published }, 'started'));
  log.info(
    { version, host: config.host.id, realm: config.host.realm, ip: config.host.ip, prefix: config.etcd.prefix },
    'starting',
  );
  return { config, sink, agent };
}

class Daemon {
  readonly #read: () => Promise<Resolved>;
  /** For the metrics: whether the last reading was of use, and when one was last, in milliseconds since the epoch. */
  readonly #reload = { isSuccessful: true, at: Date.now() };
  #generation: Generation;
  #end: (cause: DiscoverError | undefined) => void = () => {};
  #isStopping = false;
  /** Asked for a reload, and not begun with it. */
  #isAsked = false;
  #reloading: Promise<void> | undefined;
  #trial = new AbortController();
  readonly #manager: ServiceManager | undefined;

  constructor(
    generation: Generation,
    read: () => Promise<Resolved>,
    connect: ReturnType<typeof connectManager> | undefined,
  ) {
    this.#generation = generation;
    this.#read = read;
    // Of the site that holds then: a reload changes it.
    const log: Log = {
      error: (...line) => this.#log.error(...line),
      warn: (...line) => this.#log.warn(...line),
      info: (...line) => this.#log.info(...line),
      debug: (...line) => this.#log.debug(...line),
      child: (fields) => this.#log.child(fields),
    };
    this.#manager = connect?.(log, () => ({
      isAlive: this.#generation.agent.state.isAlive,
      status: statusOf(this.#generation.agent),
    }));
  }

  get #log(): Log {
    return this.#generation.sink.log;
  }

  async run(): Promise<DiscoverError | undefined> {
    const ended = new Promise<DiscoverError | undefined>((resolve) => {
      this.#end = resolve;
    });
    const listening = this.#listen(this.#generation);
    this.#follow(this.#generation, listening);
    this.#handleSignals();
    const { agent } = this.#generation;
    listening.catch((error: DiscoverError) => void agent.stop(error));
    const cause = await ended;
    await this.#generation.endpoint?.close();
    if (cause === undefined) this.#log.info({}, 'stopped');
    else this.#log.error({ code: cause.code, error: messageOf(cause) }, 'stopped');
    await this.#manager?.stopped();
    this.#generation.sink.flush();
    return cause;
  }

  /** This site is the one that counts; it is ready once what runs is published and it answers over HTTP. */
  #follow(generation: Generation, listening?: Promise<void>): void {
    this.#generation = generation;
    generation.agent.once('start', () => {
      void Promise.all([generation.agent.settled(), listening]).then(
        () => this.#manager?.ready(),
        () => {}, // it cannot listen, and ends
      );
    });
    void generation.agent.ended.then((cause) => {
      if (generation === this.#generation) this.#end(cause);
    });
  }

  async #listen(generation: Generation): Promise<void> {
    const { agent, config, sink } = generation;
    if (config.http === undefined) return;
    const { Endpoint } = await import('../http/endpoint.ts');
    generation.endpoint = await Endpoint.open(config.http, agent, sink.log, this.#reload);
  }

  #handleSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#stop(signal));
    process.on('SIGHUP', () => this.#hangUp());
    process.on('SIGUSR2', () => {
      this.#log.info({ ...this.#generation.agent.metrics, memory: process.memoryUsage().rss }, 'state');
    });
    // Node would write these to standard error, as text; TLS to an address rather than a name makes one.
    process.removeAllListeners('warning');
    process.on('warning', (warning) => this.#log.debug({ warning: warning.message }, 'warning of the runtime'));
    // Without a listener Node would open a debugger port.
    process.on('SIGUSR1', () => {});
    const onBug = (error: unknown) => {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#log.error({ error: messageOf(error), stack }, 'unexpected error');
      this.#exit(exitUnexpected);
    };
    process.on('uncaughtException', onBug);
    process.on('unhandledRejection', onBug);
  }

  #stop(signal: 'SIGINT' | 'SIGTERM'): void {
    if (this.#isStopping) this.#exit(128 + constants.signals[signal]);
    this.#isStopping = true;
    this.#log.info({ signal }, 'stopping');
    this.#manager?.stopping();
    setTimeout(() => {
      this.#log.error({}, 'did not stop in time');
      this.#exit(exitUnexpected);
    }, stopTimeoutMs).unref();
    this.#trial.abort();
    void this.#generation.agent.stop();
  }

  #exit(code: number): never {
    this.#generation.sink.flush();
    process.exit(code);
  }

  #hangUp(): void {
    this.#generation.sink.reopen();
    this.#log.info({}, 'log reopened');
    if (this.#isStopping) return;
    this.#isAsked = true;
    this.#trial.abort();
    this.#reloading ??= this.#reloadWhileAsked();
  }

  async #reloadWhileAsked(): Promise<void> {
    this.#manager?.reloading();
    while (this.#isAsked && !this.#isStopping) {
      this.#isAsked = false;
      this.#trial = new AbortController();
      await this.#reloadOnce(this.#trial.signal);
    }
    this.#reloading = undefined;
    if (!this.#isStopping) this.#manager?.reloaded();
  }

  async #reloadOnce(signal: AbortSignal): Promise<void> {
    const old = this.#generation;
    try {
      const resolved = await this.#read();
      if (isDeepStrictEqual(resolved.config, old.config)) this.#log.info({}, 'configuration unchanged');
      else if (await this.#replace(old, resolved, signal)) this.#log.info({}, 'configuration reloaded');
      else return;
      Object.assign(this.#reload, { isSuccessful: true, at: Date.now() });
    } catch (error) {
      this.#reload.isSuccessful = false;
      const stack = codeOf(error) === undefined && error instanceof Error ? error.stack : undefined;
      // All problems of a configuration, each with its key and what is allowed, on one line.
      const text = error instanceof Error ? error.message.replaceAll(/\s+/g, ' ') : String(error);
      this.#log.error({ code: codeOf(error), error: text, stack }, 'configuration not reloaded; the old one holds');
    }
  }

  /** False: it was called off. Rejects when the new configuration does not work. */
  async #replace(old: Generation, resolved: Resolved, signal: AbortSignal): Promise<boolean> {
    const isSame = (of: (config: Config) => unknown) => isDeepStrictEqual(of(resolved.config), of(old.config));
    const [isSameLog, isSameListener] = [isSame(({ log }) => log), isSame(({ http }) => http?.listen)];
    const { Replacement } = await import('./hand-over.ts');
    const sink = isSameLog ? old.sink : await openLog(resolved.config.log);
    const replacement = new Replacement(old.agent, systemClock, sink.log);
    const next = await launch(resolved, sink, replacement);
    try {
      // Where the old one does not listen already: whether that can be is known now.
      if (!isSameListener) await this.#listen(next);
      await replacement.by(next.agent, signal, () => {
        this.#follow(next);
        if (isSameListener) void this.#takeOverListener(next, old);
      });
    } finally {
      const gone = this.#generation === next ? old : next;
      await gone.endpoint?.close();
      gone.endpoint = undefined;
      if (gone === next) replacement.callOff(next.agent);
      if (!isSameLog) void gone.agent.ended.then(() => gone.sink.close());
    }
    return this.#generation === next;
  }

  /** Answers where the old one did, about the new one. */
  async #takeOverListener(next: Generation, old: Generation): Promise<void> {
    await old.endpoint?.close();
    old.endpoint = undefined;
    await this.#listen(next).catch((error: unknown) => {
      next.sink.log.error({ error: messageOf(error) }, 'not answering over HTTP any more');
    });
  }
}

/** One line for whoever asks the service manager. */
function statusOf({ metrics, published, state }: Agent): string {
  const away = [...(metrics.dockerConnected ? [] : ['Docker']), ...(metrics.etcdConnected ? [] : ['etcd'])];
  const waiting = away.length > 0 ? `waiting for ${away.join(' and ')}` : '';
  if (state.isListed && (state.leaseRemainingSeconds ?? 0) > 0) {
    return `${published} ${published === 1 ? 'container' : 'containers'} published${waiting && `, ${waiting}`}`;
  }
  return waiting ? `W${waiting.slice(1)}` : 'Not writing for this host yet';
}
