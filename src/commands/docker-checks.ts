/** The Docker checks of `discover doctor`: whether the engine answers, each path that the agent asks for, and the clock. */
import { readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { systemClock } from '../actor/clock.ts';
import type { Config } from '../config/options.ts';
import type { ContainerId } from '../container/container.ts';
import type { DockerEndpoint, EngineInfo } from '../docker/docker.ts';
import { codeOf, DiscoverError, detailsOf, messageOf } from '../errors.ts';
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
          // If nothing runs or the list failed: an id that no container has, to get the engine's own "no such container".
          const id = any ?? ('0'.repeat(64) as ContainerId);
          const inspection = (await inspectAll(pool, engine.versionPrefix, [id])).get(id);
          if (inspection?.kind === 'failed') {
            const { detail, status } = inspection;
            throw new DiscoverError('DOCKER_UNAVAILABLE', `GET /containers/<id>/json: ${detail}`, {
              details: { status },
            });
          }
          return `GET /containers/<id>/json: ${any === undefined ? 'answered "no such container"' : 'answered'}`;
        },
        pathRemedy('/containers/<id>/json'),
      ),
      await attempt(
        'docker events',
        async () => {
          (await docker.events(engine, engine.engineSeconds, () => {})).close();
          return 'GET /events: stream opened';
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
  const api = versionPrefix === '' ? 'an unknown API version' : `API ${versionPrefix.slice(2)}`;
  const seen = `${product} ${serverVersion} at ${addressOf(endpoint)}, ${api}`;
  return serverVersion === 'unknown' || versionPrefix === ''
    ? warning('docker', seen, 'Let GET /_ping and GET /version pass; until then discover assumes what it can')
    : ok('docker', seen);
}

const skewSecondsMax = 5;

function clockCheck(engineSeconds: number): Check {
  const skew = Math.floor(Date.now() / 1000) - engineSeconds;
  return Math.abs(skew) > skewSecondsMax
    ? warning(
        'clock',
        `the engine's clock is ${Math.abs(skew)} s ${skew > 0 ? 'behind' : 'ahead'}`,
        'Synchronise both by NTP',
      )
    : ok('clock', `the engine's clock is this machine's, within ${skewSecondsMax} s`);
}

/** A proxy in front of the engine withholds paths that it does not know. */
const isWithheld = (error: unknown): boolean => [401, 403].includes(detailsOf(error).status ?? 0);

const pathRemedy = (path: string) => (error: unknown) =>
  isWithheld(error)
    ? `Have the proxy in front of the engine let GET ${path} pass`
    : `Ask the engine itself: curl --unix-socket <docker.socketPath> http://docker${path.split('/<')[0]}`;

function engineRemedy(error: unknown, endpoint: DockerEndpoint): string {
  if (codeOf(error) === 'CONFIG_INVALID') return 'Leave docker.version out';
  const remedy = endpoint.kind === 'socket' ? socketRemedy(error, endpoint.path) : tcpRemedy(error, endpoint.tls);
  if (remedy !== undefined) return remedy;
  return isWithheld(error)
    ? 'Have the proxy in front of the engine let GET /_ping and GET /version pass'
    : 'See whether the engine answers at all: docker version';
}

function socketRemedy(error: unknown, path: string): string | undefined {
  switch (detailsOf(error).failure) {
    case 'socket-missing':
      return 'Start the engine, or set docker.socketPath to where its socket is';
    case 'socket-denied':
      return permissionRemedy(path);
    case 'connection-refused':
      return 'Start the engine: its socket exists, and nothing listens there';
    default:
      return undefined;
  }
}

function tcpRemedy(error: unknown, tls: unknown): string | undefined {
  const { failure, status } = detailsOf(error);
  if (failure === 'certificate' || failure === 'tls-unspoken') {
    return 'Set docker.tls.ca, .cert and .key to the files that belong to this engine';
  }
  if (failure === 'name-unknown') return 'Set docker.host to a name that can be resolved';
  if (failure === 'connection-refused') {
    return 'Start the engine with --host tcp://, or set docker.host and docker.port to where it listens';
  }
  const mayExpectTls = tls === undefined && (status === 400 || failure === 'connection-closed');
  return mayExpectTls ? 'Set docker.tls.ca, if the engine expects TLS' : undefined;
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
    // The directory of the socket may not be read either.
  }
  return `Have ${path} belong to a group that may write to it, and add user ${username} (${uid}) to that`;
}
