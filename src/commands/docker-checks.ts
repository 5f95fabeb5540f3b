/** What `discover doctor` looks at in Docker: whether the engine answers, each path that is asked for, and its clock. */
import { readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { systemClock } from '../actor/clock.ts';
import type { Config } from '../config/options.ts';
import type { ContainerId } from '../container/container.ts';
import type { DockerEndpoint, EngineInfo } from '../docker/docker.ts';
import { codeOf, messageOf } from '../errors.ts';
import { attempt, type Check, failed, ok, warning } from './checks.ts';
import { inspectAll } from './compare.ts';

export async function dockerChecks(config: Config): Promise<Check[]> {
  const { DockerClient } = await import('../docker/docker.ts');
  const { createInspectionPool } = await import('../inspect/pool.ts');
  const { endpoint, apiVersion } = config.docker;
  const docker = new DockerClient(endpoint, apiVersion, systemClock);
  let engine: EngineInfo;
  try {
    engine = await docker.negotiate();
  } catch (error) {
    return [failed('docker', messageOf(error), engineRemedy(error, endpoint))];
  }
  const pool = createInspectionPool({ ...config, workers: 0 });
  try {
    let any: ContainerId | undefined;
    return [
      reached(engine, endpoint),
      clockCheck(engine.engineSeconds),
      await attempt(
        'docker list',
        async () => {
          const listed = await pool.list(engine.versionPrefix);
          any = listed[0]?.id;
          return `GET /containers/json: ${listed.length} running`;
        },
        pathRemedy('/containers/json'),
      ),
      await attempt(
        'docker inspect',
        async () => {
          // Where nothing runs, or none may be listed: an id that no container has, for the engine's own "no such container".
          const id = any ?? ('0'.repeat(64) as ContainerId);
          const inspection = (await inspectAll(pool, engine.versionPrefix, [id])).get(id);
          if (inspection?.kind === 'failed') throw new Error(`GET /containers/<id>/json: ${inspection.detail}`);
          return `GET /containers/<id>/json: ${any === undefined ? 'no such container, which is an answer' : 'answered'}`;
        },
        pathRemedy('/containers/<id>/json'),
      ),
      await attempt(
        'docker events',
        async () => {
          (await docker.events(engine, engine.engineSeconds, () => {})).close();
          return 'GET /events: may be followed';
        },
        pathRemedy('/events'),
      ),
    ];
  } finally {
    await pool.close();
  }
}

const addressOf = (endpoint: DockerEndpoint): string =>
  endpoint.kind === 'socket' ? endpoint.path : `${endpoint.host}:${endpoint.port}${endpoint.tls ? ' over TLS' : ''}`;

function reached({ serverVersion, versionPrefix, product }: EngineInfo, endpoint: DockerEndpoint): Check {
  const api = versionPrefix === '' ? 'an API version that it does not tell' : `API ${versionPrefix.slice(2)}`;
  const seen = `${product} ${serverVersion} at ${addressOf(endpoint)}, ${api}`;
  return serverVersion === 'unknown' || versionPrefix === ''
    ? warning('docker', seen, 'Let GET /_ping and GET /version pass; discover goes by what is left')
    : ok('docker', seen);
}

const skewSecondsMax = 5;

function clockCheck(engineSeconds: number): Check {
  const skew = Math.floor(Date.now() / 1000) - engineSeconds;
  return Math.abs(skew) > skewSecondsMax
    ? warning('clock', `the engine's clock is ${Math.abs(skew)} s ${skew > 0 ? 'behind' : 'ahead'}`, 'Keep both by NTP')
    : ok('clock', `the engine's is ours, to ${skewSecondsMax} s`);
}

/** What a proxy before the engine may have to be told. */
const pathRemedy = (path: string) => (error: unknown) =>
  /status (401|403)/.test(messageOf(error))
    ? `Have the proxy before the engine let GET ${path} pass`
    : `Ask the engine itself: curl --unix-socket <docker.socketPath> http://docker${path.split('/<')[0]}`;

function engineRemedy(error: unknown, endpoint: DockerEndpoint): string {
  const text = messageOf(error);
  if (codeOf(error) === 'CONFIG_INVALID') return 'Leave docker.version out';
  const cause = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
  if (endpoint.kind === 'socket') {
    if (cause === 'ENOENT') return 'Start the engine, or set docker.socketPath to where its socket is';
    if (cause === 'EACCES') return permissionRemedy(endpoint.path);
    if (cause === 'ECONNREFUSED') return 'Start the engine: its socket is there, and nobody listens';
  } else {
    if (/docker\.(tls|host)/.test(text))
      return 'Set docker.tls.ca, .cert and .key to the files that belong to this engine';
    if (cause === 'ENOTFOUND') return 'Set docker.host to a name that can be resolved';
    if (cause === 'ECONNREFUSED')
      return 'Start the engine with --host tcp://, or set docker.host and docker.port to where it listens';
    if (/status 400|socket hang up/.test(text) && !endpoint.tls) return 'Set docker.tls.ca, if the engine expects TLS';
  }
  return /status (401|403)/.test(text)
    ? 'Have the proxy before the engine let GET /_ping and GET /version pass'
    : 'See whether the engine answers anybody: docker version';
}

function permissionRemedy(path: string): string {
  const { username, uid } = userInfo();
  try {
    const { gid, mode } = statSync(path);
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((one) => one.split(':')[2] === String(gid));
    const group = line?.split(':', 1)[0] ?? String(gid);
    if (gid !== 0 && (mode & 0o060) === 0o060) {
      return `Add user ${username} to group ${group}, which owns ${path}: usermod --append --groups ${group} ${username}`;
    }
  } catch {
    // Not even the socket's directory may be looked into.
  }
  return `Have ${path} belong to a group that may write to it, and add user ${username} (${uid}) to that`;
}
