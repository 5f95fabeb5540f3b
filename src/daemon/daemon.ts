/**
 * The agent as a process: its log, its HTTP endpoint, signals, the service manager, and reloads.
 *
 *     SIGINT, SIGTERM   stop; a second one ends at once
 *     SIGHUP            open the log file again and read the configuration again
 *     SIGUSR2           log the counters
 *
 * The process listens before it starts an agent: if it cannot listen, it claims no host. A new configuration takes effect
 * once an agent works with it (`hand-over.ts`); until then, and if none ever does, the previous one stays in force.
 * Another SIGHUP, or a stop, calls off a reload that has not taken over yet.
 */

import { constants } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../actor/clock.ts';
import type { Agent } from '../agent.ts';
import type { Config } from '../config/options.ts';
import type { Resolved } from '../config/resolve.ts';
import { codeOf, DiscoverError, messageOf, problemText } from '../errors.ts';
import { exitUnexpected } from '../exit-codes.ts';
import type { Endpoint } from '../http/endpoint.ts';
import type { HttpListener } from '../http/server.ts';
import { type Log, type LogSink, openLog } from '../log.ts';
import type { Predecessor } from '../registry/lease-keeper.ts';
import { version } from '../version.ts';
import { logHealth } from './health-log.ts';
import type { connect as connectManager, ServiceManager } from './service-manager.ts';

/** Each stage of a stop has a time limit of its own; this limit is for the unforeseen. */
const stopTimeoutMs = 9_500;

/** The start is over by then, or waits for Docker or etcd: it does not pay for the loading. */
const loadLateMs = 15_000;

/** One configuration at work. */
interface Generation {
  readonly config: Config;
  readonly sink: LogSink;
  readonly agent: Agent;
  /** A listener of its own, or the listener of the generation before. */
  listener: HttpListener | undefined;
  endpoint?: Endpoint | undefined;
}

/** Runs until it is stopped, or cannot go on: then it returns the cause. A reload begins with `read`. */
export async function runDaemon(first: Resolved, read: () => Promise<Resolved>): Promise<DiscoverError | undefined> {
  const { env, pid } = process;
  const connect = env.NOTIFY_SOCKET ? (await import('./service-manager.ts')).connect(systemClock, env, pid) : undefined;
  const sink = await openLog(first.config.log);
  let listener: HttpListener | undefined;
  try {
    listener = await listenFor(first.config);
  } catch (error) {
    if (!(error instanceof DiscoverError)) throw error;
    sink.log.error({ code: error.code, error: messageOf(error) }, 'stopped');
    sink.flush();
    return error;
  }
  return new Daemon(await launch(first, sink, listener), read, connect).run();
}

/** Rejects with `LISTEN_FAILED`. Undefined: `http.listen` is not set. */
async function listenFor({ http }: Config): Promise<HttpListener | undefined> {
  if (http === undefined) return undefined;
  const { HttpListener } = await import('../http/server.ts');
  return HttpListener.open(http.listen);
}

/** Starts an agent with a configuration. Nothing is served over HTTP yet. */
async function launch(
  { config, warnings, notes }: Resolved,
  sink: LogSink,
  listener: HttpListener | undefined,
  predecessor?: Predecessor,
): Promise<Generation> {
  const { log } = sink;
  for (const warning of warnings) log.warn({}, problemText(warning));
  for (const note of notes) log.info({}, note);
  // The threads start up while this thread loads the code for Docker and etcd.
  const { createInspectionPool } = await import('../inspect/pool.ts');
  const pool = createInspectionPool(config);
  const { createAgent } = await import('../agent.ts');
  const agent = createAgent(config, { log, pool, predecessor });
  agent.once('start', () => log.info({ host: config.host.id, published: agent.published }, 'started'));
  log.info(
    { version, host: config.host.id, realm: config.host.realm, ip: config.host.ip, prefix: config.etcd.prefix },
    'starting',
  );
  return { config, sink, agent, listener };
}

class Daemon {
  readonly #read: () => Promise<Resolved>;
  /** For the metrics: whether the last reload succeeded, and when one did last, in milliseconds since the epoch. */
  readonly #reload = { isSuccessful: true, at: Date.now() };
  #generation: Generation;
  #end: (cause: DiscoverError | undefined) => void = () => {};
  #isStopping = false;
  /** The error that prevented the code for a reload from being loaded. */
  #loadFailure: unknown = Symbol('none');
  /** A reload was requested and has not begun. */
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
    // Resolved late: a reload swaps the agent.
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
      ttlSeconds: this.#generation.config.etcd.ttlSeconds,
    }));
  }

  get #log(): Log {
    return this.#generation.sink.log;
  }

  async run(): Promise<DiscoverError | undefined> {
    const ended = new Promise<DiscoverError | undefined>((resolve) => {
      this.#end = resolve;
    });
    const serving = this.#serve(this.#generation);
    this.#follow(this.#generation, serving);
    this.#handleSignals();
    const stopHealthLog = logHealth(
      () => this.#generation.agent.health,
      () => this.#log,
    );
    setTimeout(() => void this.#loadForReload(), loadLateMs).unref();
    const cause = await ended;
    stopHealthLog();
    await this.#generation.endpoint?.close();
    await this.#generation.listener?.close();
    if (cause === undefined) this.#log.info({}, 'stopped');
    else this.#log.error({ code: cause.code, error: messageOf(cause) }, 'stopped');
    await this.#manager?.stopped();
    this.#generation.sink.flush();
    return cause;
  }

  /** This generation is in charge now. It is ready once its containers are published and it answers over HTTP. */
  #follow(generation: Generation, serving?: Promise<void>): void {
    this.#generation = generation;
    generation.agent.once('start', () => {
      void Promise.all([generation.agent.settled(), serving]).then(() => this.#manager?.ready());
    });
    void generation.agent.ended.then((cause) => {
      if (generation === this.#generation) this.#end(cause);
    });
  }

  /** Answers at the generation's listener, about its agent. */
  async #serve(generation: Generation): Promise<void> {
    const { agent, config, listener, sink } = generation;
    if (config.http === undefined || listener === undefined) return;
    const { Endpoint } = await import('../http/endpoint.ts');
    generation.endpoint = new Endpoint(listener, config.http.hosts, agent, this.#reload);
    sink.log.info({ listen: listener.name }, 'answering over HTTP');
  }

  /** The package may be replaced on disk before a reload: its code is loaded now, but not before the start is over. */
  async #loadForReload(): Promise<void> {
    try {
      await import('./hand-over.ts');
      await import('../http/server.ts');
      await import('../http/endpoint.ts');
      this.#log.debug({}, 'loaded the code for a reload');
    } catch (error) {
      this.#loadFailure = error;
      this.#log.warn({ error: messageOf(error) }, 'code for a reload cannot be loaded; a reload will fail');
    }
  }

  #handleSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#stop(signal));
    process.on('SIGHUP', () => this.#hangUp());
    process.on('SIGUSR2', () => {
      this.#log.info({ ...this.#generation.agent.metrics, memory: process.memoryUsage().rss }, 'state');
    });
    // Node would write warnings to standard error, as text. TLS to an address rather than a name causes one.
    process.removeAllListeners('warning');
    process.on('warning', (warning) => this.#log.debug({ warning: warning.message }, 'warning of the runtime'));
    // Without a listener Node would open a debugger port.
    process.on('SIGUSR1', () => {});
    const onBug = (error: unknown) => {
      // Node rejects a second promise, which no code can reach, with what a CommonJS file threw when it was imported.
      if (error === this.#loadFailure) return;
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
    const { agent } = this.#generation;
    const { drainMs } = agent;
    this.#manager?.stopping(drainMs);
    setTimeout(() => {
      this.#log.error({}, 'did not stop in time');
      this.#exit(exitUnexpected);
    }, stopTimeoutMs + drainMs).unref();
    this.#trial.abort();
    void agent.stop();
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
      this.#log.error({ code: codeOf(error), error: text, stack }, 'reload failed; keeping the previous configuration');
    }
  }

  /** False: it was called off. Rejects when the new configuration does not work. */
  async #replace(old: Generation, resolved: Resolved, signal: AbortSignal): Promise<boolean> {
    const { config } = resolved;
    const isSameLog = isDeepStrictEqual(config.log, old.config.log);
    const isSameListener = isDeepStrictEqual(config.http?.listen, old.config.http?.listen);
    const { Replacement } = await import('./hand-over.ts');
    // Before the new agent starts: a new address must be one at which it can listen.
    const listener = isSameListener ? old.listener : await listenFor(config);
    const sink = isSameLog
      ? old.sink
      : await openLog(config.log).catch(async (error: unknown) => {
          if (!isSameListener) await listener?.close();
          throw error;
        });
    const replacement = new Replacement(old.agent, systemClock, sink.log);
    const next = await launch(resolved, sink, listener, replacement);
    try {
      if (!isSameListener) await this.#serve(next);
      await replacement.by(next.agent, signal, () => {
        this.#follow(next);
        // The listener can answer all the time: the new endpoint takes over, then the streams of the old one end.
        if (isSameListener) void this.#serve(next).then(() => old.endpoint?.close());
      });
    } finally {
      const gone = this.#generation === next ? old : next;
      if (gone === next || !isSameListener) await gone.endpoint?.close();
      if (!isSameListener) await gone.listener?.close();
      if (gone === next) replacement.callOff(next.agent);
      if (!isSameLog) void gone.agent.ended.then(() => gone.sink.close());
    }
    return this.#generation === next;
  }
}

/** One line for the service manager's status. */
function statusOf({ metrics, published, state }: Agent): string {
  const away = [...(metrics.docker.isUp ? [] : ['Docker']), ...(metrics.etcd.isUp ? [] : ['etcd'])];
  const waiting = away.length > 0 ? `waiting for ${away.join(' and ')}` : '';
  if (state.isListed && (state.leaseRemainingSeconds ?? 0) > 0) {
    return `${published} ${published === 1 ? 'container' : 'containers'} published${waiting && `, ${waiting}`}`;
  }
  return waiting ? `W${waiting.slice(1)}` : 'Not writing for this host yet';
}
