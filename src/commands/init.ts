/**
 * `discover init`: writes a first configuration file, and runs `doctor` with it.
 *
 * The options of the command line and of the environment are written, without secrets. The engine's socket and etcd are
 * looked for where neither is given; a terminal is asked, and anything else takes what is found. Address and id of the
 * host are written only if they are given, because the agent finds them anew at each start. The file appears as a whole
 * or not at all, and one that is there is replaced only with `--force`.
 * Exit codes: those of `doctor`; 73 the file is there or cannot be written; 78 an option cannot be used.
 */
import { existsSync, linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { systemClock } from '../actor/clock.ts';
import { isPrintable } from '../config/options.ts';
import { type Layers, readSources, systemFilePath } from '../config/sources.ts';
import { configError, DiscoverError, messageOf, type Problem, problemText } from '../errors.ts';
import { detectHost } from '../host.ts';
import { command, type Io, tellingOfWait } from './command.ts';

export const init = command({
  options: {
    force: { type: 'boolean', description: 'Replace a file that is there (false)' },
    yes: { type: 'boolean', description: 'Ask nothing and take what is found (false)' },
    'dry-run': { type: 'boolean', description: 'Only print the file (false)' },
  },
  aliases: { '-n': '--dry-run', '-y': '--yes' },
  async run({ flags, sources }, io) {
    const file = path.resolve(sources.file ?? systemFilePath);
    if (!flags['dry-run'] && !flags.force && existsSync(file)) throw isThere(file);
    const { argv = {}, env = {} } = sources;
    const given = readSources({ argv, env: withoutFile(env) });
    refuse(given.problems);
    const found = await tellingOfWait('Docker and etcd', io, detect(given));
    const isAsked = !flags.yes && io.isTerminal && 'isTTY' in io.stdin && io.stdin.isTTY === true;
    const answers = isAsked ? await ask(questions(given, found), io) : written(found);
    const { chosen, problems } = readSources({ argv: { ...argv, ...answers }, env: withoutFile(env) });
    refuse(problems);
    for (const name of chosen.keys()) if (!isPrintable(name)) io.warn(`${name} is a secret and is not written`);
    const text = fileOf(chosen);
    if (flags['dry-run']) {
      io.write(text);
      return 0;
    }
    writeWhole(file, text, flags.force ?? false, io);
    io.write(`Written: ${file}\n`);
    const { doctor } = await import('./doctor.ts');
    return doctor.run({ flags: {}, words: [], sources: { argv: {}, env, file } }, io);
  },
});

/** The file that the environment names is no source of the new one. */
const withoutFile = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  ...env,
  DISCOVER_CONFIG: undefined,
  config: undefined,
});

function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw configError('the configuration', problems);
}

interface Found {
  readonly 'docker.socketPath'?: string | undefined;
  readonly 'etcd.endpoints'?: string | undefined;
  readonly ip?: string | undefined;
  readonly id?: string | undefined;
}

const usualSocket = '/var/run/docker.sock';

async function detect({ chosen }: Layers): Promise<Found> {
  const has = (...names: string[]): boolean => names.some((name) => chosen.has(name));
  const [socket, endpoint, host] = await Promise.all([
    has('docker.socketPath', 'docker.host', 'docker.port') ? undefined : socketThatAnswers(),
    has('etcd.endpoints', 'etcd.host', 'etcd.port') ? undefined : endpointThatAnswers(),
    detectHost({}),
  ]);
  return { 'docker.socketPath': socket, 'etcd.endpoints': endpoint, ip: host.ip, id: host.id };
}

async function socketThatAnswers(): Promise<string | undefined> {
  const { DockerClient } = await import('../docker/docker.ts');
  const own = process.env.XDG_RUNTIME_DIR;
  const folders = ['/var/run', ...(own === undefined ? [] : [own]), '/run'];
  const all = folders.flatMap((folder) => [`${folder}/docker.sock`, `${folder}/podman/podman.sock`]);
  for (const socketPath of new Set(all)) {
    if (!existsSync(socketPath)) continue;
    const client = new DockerClient({ kind: 'socket', path: socketPath }, undefined, systemClock);
    const engine = await client.negotiate().catch(() => undefined);
    if (engine !== undefined) return socketPath;
  }
  return undefined;
}

async function endpointThatAnswers(): Promise<string | undefined> {
  const [{ Member }, { statusOf }] = await Promise.all([import('../etcd/member.ts'), import('./etcd-checks.ts')]);
  const endpoint = 'localhost:2379';
  const member = new Member(endpoint, { endpoints: [endpoint] });
  try {
    await statusOf(member);
    return endpoint;
  } catch {
    return undefined;
  } finally {
    member.close();
  }
}

/** What is written without a question. */
function written(found: Found): Record<string, string> {
  const socket = found['docker.socketPath'];
  return {
    ...(socket !== undefined && socket !== usualSocket && { 'docker.socketPath': socket }),
    ...(found['etcd.endpoints'] !== undefined && { 'etcd.endpoints': found['etcd.endpoints'] }),
  };
}

interface Question {
  readonly option: string;
  readonly text: string;
  /** Shown in brackets. */
  readonly otherwise: string;
  /** The value for an empty answer, if that is written. */
  readonly value?: string | undefined;
}

function questions({ chosen }: Layers, found: Found): Question[] {
  const { 'docker.socketPath': socket, 'etcd.endpoints': etcd } = written(found);
  const anew = (value: string | undefined): string => (value ? `${value}, found anew at each start` : 'none is found');
  const all: Question[] = [
    {
      option: 'docker.socketPath',
      text: 'Socket of the Docker Engine',
      otherwise: found['docker.socketPath'] ?? `${usualSocket}, where no engine answers`,
      value: socket,
    },
    {
      option: 'etcd.endpoints',
      text: 'Members of etcd, with commas',
      otherwise: etcd ?? 'localhost:2379, where no etcd answers',
      value: etcd,
    },
    { option: 'host.ip', text: 'Address at which other machines reach this one', otherwise: anew(found.ip) },
    { option: 'host.id', text: 'Name of this host in the keys', otherwise: anew(found.id) },
    { option: 'host.realm', text: 'Realm', otherwise: 'default' },
    { option: 'http.listen', text: 'Address of page, health and metrics, such as 9320', otherwise: 'off' },
  ];
  const rivals = (option: string): string[] => [...chosen.keys()].filter((name) => name.split('.')[0] === option);
  return all.filter(({ option }) => {
    if (option === 'docker.socketPath') return rivals('docker').every((name) => !/socketPath|host|port/.test(name));
    if (option === 'etcd.endpoints') return rivals('etcd').every((name) => !/endpoints|host|port/.test(name));
    return !chosen.has(option);
  });
}

/** Asks again after a value that is not allowed. The end of the input counts as empty answers. */
async function ask(all: readonly Question[], io: Io): Promise<Record<string, string>> {
  const answers: Record<string, string> = {};
  const lines = createInterface({ input: io.stdin, terminal: false });
  try {
    const next = lines[Symbol.asyncIterator]();
    for (const { option, text, otherwise, value } of all) {
      for (let isDone = false; !isDone; ) {
        io.write(`${text} [${otherwise}]: `);
        const { value: line = '', done } = (await next.next()) as { value?: string; done?: boolean };
        const answer = line.trim();
        const { problems } = readSources({ argv: answer === '' ? {} : { [option]: answer } });
        for (const problem of problems) io.warn(problemText(problem));
        isDone = done === true || problems.length === 0;
        const taken = answer === '' || problems.length > 0 ? value : answer;
        if (isDone && taken !== undefined) answers[option] = taken;
      }
    }
  } finally {
    lines.close();
  }
  return answers;
}

function fileOf(chosen: Layers['chosen']): string {
  const tree: Record<string, unknown> = {};
  for (const [name, { value }] of chosen) {
    if (!isPrintable(name)) continue;
    const parts = name.split('.');
    const last = parts.pop() ?? '';
    let place = tree;
    for (const part of parts) {
      place[part] ??= {};
      place = place[part] as Record<string, unknown>;
    }
    place[last] = value;
  }
  return `${JSON.stringify(tree, undefined, 2)}\n`;
}

function isThere(file: string): DiscoverError {
  return new DiscoverError('FILE_UNWRITABLE', `${file} is there and was not changed: --force replaces it`);
}

/** A link never replaces a file, also not one that has appeared meanwhile. */
function writeWhole(file: string, text: string, isForced: boolean, io: Io): void {
  const draft = `${file}.${process.pid}`;
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(draft, text, { mode: 0o644, flag: 'wx', flush: true });
    if (isForced) renameSync(draft, file);
    else linkSync(draft, file);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST' && existsSync(file)) throw isThere(file);
    io.write(text);
    const isDenied = code === 'EROFS' || code === 'EACCES' || code === 'EPERM';
    const remedy = isDenied
      ? 'it is read-only for this user: run as root, or name another file with --config; the agent reads it with --config or DISCOVER_CONFIG'
      : messageOf(error);
    const message = `Cannot write ${file}, so its content is on standard output: ${remedy}`;
    throw new DiscoverError('FILE_UNWRITABLE', message, { cause: error });
  } finally {
    if (existsSync(draft)) rmSync(draft);
  }
}
