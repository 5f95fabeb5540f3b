/**
 * Why a container is published or not: each decision on the way from its variable to its keys, with the reason and the
 * remedy. Pure, so a document can show every reason.
 *
 * The functions of the agent decide; this file only reports. A document is foreign and full of secrets: only the
 * advertisement is shown of its environment.
 */

import { isRecord } from '../container/address/published.ts';
import type { RefusalCode } from '../container/container.ts';
import { type InspectionOptions, readInspection } from '../container/document.ts';
import { parseAdvertisement, textOf } from '../container/sources/variable.ts';
import type { FoundKey } from '../etcd/registry.ts';

/** Why something is not published, or why this is unknown. */
export type Reason =
  | RefusalCode
  | 'absent'
  | 'ambiguous'
  | 'created'
  | 'exited'
  | 'restarting'
  | 'dead'
  | 'failing'
  | 'no-variable'
  | 'other-variable'
  | 'empty-variable'
  | 'etcd-unavailable'
  | 'no-owner'
  | 'not-written'
  | 'differs';

/** One decision. A decision without a reason is positive. */
export interface Step {
  readonly about: string;
  /** The value or the state that was found. */
  readonly detail: string;
  readonly reason?: Reason;
  readonly remedy?: string;
}

const remedies: Record<Reason, string> = {
  absent: 'See docker ps --all; discover asks the engine that docker.socketPath, docker.host or DOCKER_HOST name',
  ambiguous: 'Give more of the id, or the whole name',
  created: 'Start it: docker start',
  exited: 'Find out why it ended (docker logs) and start it: docker start',
  restarting: 'It ends again and again: see docker logs',
  dead: 'The engine could not remove it: docker rm --force',
  failing: 'Ask the engine itself: docker inspect',
  'no-variable':
    'Advertise in the image (ENV DISCOVER name:port) or when it is created (docker run -e), and create it anew',
  'other-variable':
    'Set discover.serviceVariable to the name of the variable, or name the variable so, and create it anew',
  'empty-variable': 'Write name:port into it, as in web:8080, and create the container anew',
  'name-invalid': 'Rename the service, or set discover.namePolicy',
  'port-invalid': 'Write the port that the container listens on, as in web:8080',
  'protocol-invalid': 'Write /tcp, /udp or /sctp behind the port, or nothing for tcp',
  'not-published': 'Publish the port: docker run -p, or -P with EXPOSE; ports are given when a container is created',
  loopback: 'Publish it on an address that others reach: -p 8080:80 rather than -p 127.0.0.1:8080:80',
  multiline: 'Write all entries in one line, with commas',
  'too-long': 'Advertise less than 16 KiB',
  'too-many': 'Advertise fewer services; each view that is on takes room as well',
  'host-only': 'Publish it on an address that others reach: -p 8080:80 rather than -p 172.17.0.1:8080:80',
  'other-family': 'Publish it on both families (-p 8080:80), or set host.ip to an address of that family',
  'rootless-host-network': 'Publish the port instead: docker run -p 8080:80 without --network host',
  'no-network': 'It has no network (--network none): give it one and publish the port',
  'shared-network': 'Its ports belong to the container whose network it uses: advertise them there',
  'swarm-ingress': 'Publish it on the host of each task: docker service create --publish mode=host,target=80',
  'not-bound':
    'Connect it to a bridge network that is not internal (docker network connect), or restart it: docker restart; see the log of the engine',
  'etcd-unavailable': 'See discover doctor',
  'no-owner': 'No process writes for this host: start discover, or check host.id, which may name another host',
  'not-written':
    'It may be under way: ask again. Else the log of discover says why, and discover doctor what is broken',
  differs: 'It may be under way: ask again. Else another program writes here, or the log of discover says why',
};

/** How to mend it. */
export const remedyOf = (reason: Reason): string => remedies[reason];

export function failed(about: string, reason: Reason, detail: string): Step {
  return { about, detail, reason, remedy: remedies[reason] };
}

/** The decisions that follow from the container's own document. */
export function explainContainer(document: unknown, options: InspectionOptions): { steps: Step[]; isRunning: boolean } {
  const state = field(document, 'State');
  const inspection = readInspection(document, options);
  if (inspection.kind === 'failed') {
    return { steps: [failed('container', 'failing', inspection.detail)], isRunning: false };
  }
  if (inspection.kind === 'down') return { steps: [whyDown(state)], isRunning: false };
  const steps: Step[] = [{ about: 'container', detail: `runs since ${String(field(state, 'StartedAt'))}` }];
  const env = environment(document);
  const variable = variableStep(env, options.serviceVariable);
  steps.push(variable);
  if (variable.reason !== undefined) return { steps, isRunning: true };
  const { entries } = parseAdvertisement(env, options);
  for (const { name, url, privatePort, protocol } of inspection.services) {
    steps.push({ about: textOf({ name, privatePort, protocol }), detail: url });
  }
  for (const { code, entry, detail } of inspection.refusals) {
    steps.push(failed(entry === '' ? 'variable' : entry, code, detail));
  }
  // A variable of commas and spaces alone has no entry.
  if (entries.length === 0 && inspection.refusals.length === 0) {
    steps.splice(1, 1, failed('variable', 'empty-variable', `${options.serviceVariable} holds no entry`));
  }
  return { steps, isRunning: true };
}

/** Compares the wanted keys with etcd. `found` holds the keys that etcd has of them. */
export function explainKeys(
  wanted: ReadonlyMap<string, string>,
  found: readonly FoundKey[],
  owner: { readonly lease: string; readonly detail: string } | undefined,
): Step[] {
  if (wanted.size === 0) return [];
  if (owner === undefined) return [failed('etcd', 'no-owner', 'there is no owner key of this host')];
  const steps: Step[] = [{ about: 'etcd', detail: owner.detail }];
  const held = new Map(found.map((entry) => [entry.key, entry]));
  for (const [key, value] of wanted) {
    const entry = held.get(key);
    if (entry === undefined) steps.push(failed(key, 'not-written', 'is not in etcd'));
    else if (entry.value !== value) steps.push(failed(key, 'differs', `is ${entry.value} in etcd, should be ${value}`));
    else if (entry.lease !== owner.lease) steps.push(failed(key, 'differs', "is not on the owner's lease"));
    else steps.push({ about: key, detail: value });
  }
  return steps;
}

function whyDown(state: unknown): Step {
  const status = String(field(state, 'Status'));
  if (field(state, 'Dead') === true) return failed('container', 'dead', 'is dead');
  if (field(state, 'Restarting') === true) {
    return failed(
      'container',
      'restarting',
      `waits to be started again, ended with ${String(field(state, 'ExitCode'))}`,
    );
  }
  if (status === 'created') return failed('container', 'created', 'has never been started');
  const detail = `ended with ${String(field(state, 'ExitCode'))} at ${String(field(state, 'FinishedAt'))}`;
  return failed('container', 'exited', detail);
}

function variableStep(env: readonly string[], name: string): Step {
  const values = env.filter((one) => one.startsWith(`${name}=`)).map((one) => one.slice(name.length + 1));
  // Docker takes a name without a value, too.
  if (env.includes(name)) values.push('');
  if (values.length === 0) {
    const like = env
      .map((one) => one.split('=', 1)[0] ?? '')
      .find((one) => /^(discover|service[_.]?discover)$/i.test(one));
    if (like !== undefined) return failed('variable', 'other-variable', `there is ${like}, and ${name} is read`);
    return failed('variable', 'no-variable', `there is no ${name}`);
  }
  if (values.every((value) => value.trim() === '')) return failed('variable', 'empty-variable', `${name} is empty`);
  return { about: 'variable', detail: `${name}=${values.join(',').slice(0, shownMax)}` };
}

const shownMax = 200;

function environment(document: unknown): string[] {
  const env = field(field(document, 'Config'), 'Env');
  return Array.isArray(env) ? env.filter((one): one is string => typeof one === 'string') : [];
}

const field = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);
