/**
 * Why a container is published or not: each decision on the way from its variable to its keys, with the reason and the
 * remedy. Pure, so a document can show every reason.
 *
 * The functions of the agent decide; this file only reports. A document is foreign and full of secrets: only the
 * advertisement is shown of its environment.
 */

import { isRecord } from '../container/address/published.ts';
import { type Inspection, urlOf } from '../container/container.ts';
import { type InspectionOptions, readInspection } from '../container/document.ts';
import { mismatchOf } from '../container/filter.ts';
import { type Mark, wordsOf } from '../container/maintenance.ts';
import { namesOf } from '../container/names.ts';
import { type ReasonCode, type RefusalCode, refusals, withheld } from '../container/refusals.ts';
import { textOf } from '../container/sources/advertisement.ts';
import { readDeclaration, type Source } from '../container/sources/declaration.ts';
import { readLabels } from '../container/sources/label.ts';
import { variableTexts } from '../container/sources/variable.ts';
import type { FoundKey } from '../etcd/registry.ts';
import { parseMeta } from '../layout/meta.ts';
import { deservesBy, type PublishPolicy } from '../lifecycle/deserves.ts';

/** Why something is not published, or why this is unknown. */
export type Reason =
  | RefusalCode
  | ReasonCode
  | 'absent'
  | 'filtered'
  | 'ambiguous'
  | 'created'
  | 'exited'
  | 'restarting'
  | 'dead'
  | 'failing'
  | 'no-variable'
  | 'other-variable'
  | 'empty-variable'
  | 'no-label'
  | 'empty-label'
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

const reasons: Record<Reason, { readonly remedy: string }> = {
  ...refusals,
  ...withheld,
  absent: {
    remedy: 'See docker ps --all; discover asks the engine that docker.socketPath, docker.host or DOCKER_HOST name',
  },
  ambiguous: { remedy: 'Give more of the id, or the whole name' },
  filtered: { remedy: 'Change docker.filter, or give the container what it asks for' },
  created: { remedy: 'Start it: docker start' },
  exited: { remedy: 'Find out why it ended (docker logs) and start it: docker start' },
  restarting: { remedy: 'It ends again and again: see docker logs' },
  dead: { remedy: 'The engine could not remove it: docker rm --force' },
  failing: { remedy: 'Ask the engine itself: docker inspect' },
  'no-variable': {
    remedy:
      'Advertise in the image (ENV DISCOVER name:port) or when it is created (docker run -e, or --label), and create it anew',
  },
  'other-variable': {
    remedy: 'Set discover.serviceVariable to the name of the variable, or name the variable so, and create it anew',
  },
  'no-label': { remedy: 'Advertise in the label when it is created (docker run --label), and create it anew' },
  'empty-label': {
    remedy: 'The label takes the place of the variable: write name:port into it, or take it away, and create it anew',
  },
  'empty-variable': { remedy: 'Write name:port into it, as in web:8080, and create the container anew' },
  'etcd-unavailable': { remedy: 'See discover doctor' },
  'no-owner': {
    remedy: 'No process writes for this host: start discover, or check host.id, which may name another host',
  },
  'not-written': {
    remedy:
      'It may be under way, or withheld because it was asked to stop or crashes again and again. Only discover knows: its log says why, and discover doctor says what is broken',
  },
  differs: {
    remedy: 'It may be under way: ask again. Else another program writes here, or the log of discover says why',
  },
};

export function failed(about: string, reason: Reason, detail: string): Step {
  return { about, detail, reason, remedy: reasons[reason].remedy };
}

/** The decisions that follow from the container's own document; `inspection` is what was read of it. */
export function explainContainer(
  document: unknown,
  options: InspectionOptions & {
    readonly publish?: PublishPolicy;
    /** What a person has decided about it. */
    readonly maintenance?: { readonly mark: Mark; readonly isOfHost: boolean } | undefined;
  },
  inspection: Inspection = readInspection(document, options),
): { steps: Step[]; isRunning: boolean; isWithheld: boolean } {
  const state = field(document, 'State');
  if (inspection.kind === 'failed') {
    return { steps: [failed('container', 'failing', inspection.detail)], isRunning: false, isWithheld: false };
  }
  if (inspection.kind === 'down') {
    return { steps: [whyDown(document, state, options)], isRunning: false, isWithheld: false };
  }
  const steps: Step[] = [
    { about: 'container', detail: `runs since ${String(field(state, 'StartedAt'))}${calledOf(document)}` },
  ];
  const { entries, rules, source } = readDeclaration(document, options);
  const advertisement = advertisementStep(document, source, options);
  steps.push(advertisement);
  for (const service of inspection.services) {
    const rule = rules.get(textOf(service));
    steps.push({
      about: textOf(service),
      detail: `${urlOf(service)}${rule === undefined ? '' : ` (named by ${rule})`}`,
    });
  }
  for (const { code, entry, detail } of inspection.refusals) {
    steps.push(failed(entry === '' ? advertisement.about : entry, code, detail));
  }
  // An advertisement of commas and spaces alone has no entry.
  if (advertisement.reason === undefined && entries.length === 0 && inspection.refusals.length === 0) {
    steps.splice(
      1,
      1,
      failed(
        advertisement.about,
        emptyOf(source),
        `${source === 'label' ? (options.label ?? 'discover') : options.serviceVariable} holds no entry`,
      ),
    );
  }
  const { publish, maintenance } = options;
  const hasOffers = publish !== undefined && inspection.services.length > 0;
  const verdict = hasOffers ? deservesBy(inspection, Date.now(), publish, maintenance !== undefined) : undefined;
  const isWithheld = verdict?.isPublished === false;
  if (isWithheld) {
    const { reason } = verdict;
    const decided =
      maintenance &&
      `since ${maintenance.mark.since ?? 'an unknown time'} ${wordsOf(maintenance.mark, maintenance.isOfHost)}`;
    steps.push(failed('traffic', reason, decided === undefined ? withheld[reason].title : `in maintenance ${decided}`));
  }
  return { steps, isRunning: true, isWithheld };
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
  const told = stateTold(wanted, found);
  if (told !== undefined) {
    return [...steps, failed('traffic', told === 'draining' ? 'draining' : 'flapping', `its state in etcd is ${told}`)];
  }
  for (const [key, value] of wanted) {
    const entry = held.get(key);
    if (entry === undefined) steps.push(failed(key, 'not-written', 'is not in etcd'));
    else if (entry.value !== value) steps.push(failed(key, 'differs', `is ${entry.value} in etcd, should be ${value}`));
    else if (entry.lease !== owner.lease) steps.push(failed(key, 'differs', "is not on the owner's lease"));
    else steps.push({ about: key, detail: value });
  }
  return steps;
}

/** Why the agent withholds it, where the metas of its instances are all that etcd has, and say so. */
function stateTold(wanted: ReadonlyMap<string, string>, found: readonly FoundKey[]): string | undefined {
  const values = found.flatMap(({ key, value }) => (wanted.has(key) ? [value] : []));
  const states = values.map((value) => parseMeta(value).state);
  const [state] = states;
  return states.every((one) => one === state) && (state === 'draining' || state === 'held') ? state : undefined;
}

/** What people call the container, behind what is said of it: `, name web-1, image nginx:1.27, compose shop/web`. */
function calledOf(document: unknown): string {
  const { name, image, compose } = namesOf(document) ?? {};
  const place = compose && [compose.project, compose.service].filter(Boolean).join('/');
  const called = Object.entries({ name, image, compose: place }).filter(([, text]) => text !== undefined);
  return called.map(([what, text]) => `, ${what} ${text}`).join('');
}

function whyDown(document: unknown, state: unknown, { filter = [] }: InspectionOptions): Step {
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
  const mismatch = field(state, 'Running') === true ? mismatchOf(document, filter) : undefined;
  if (mismatch !== undefined) return failed('container', 'filtered', `does not match docker.filter ${mismatch}`);
  const detail = `ended with ${String(field(state, 'ExitCode'))} at ${String(field(state, 'FinishedAt'))}`;
  return failed('container', 'exited', detail);
}

/** The source that counts, or why there is none. */
function advertisementStep(document: unknown, source: Source | undefined, options: InspectionOptions): Step {
  const { serviceVariable: name, label = 'discover', sources = ['variable', 'label'] } = options;
  const config = field(document, 'Config');
  if (source === 'label') {
    const { text = '' } = readLabels(field(config, 'Labels'), label);
    if (text.trim() === '') return failed('label', 'empty-label', `the label ${label} is empty`);
    return { about: 'label', detail: `${label}=${text.slice(0, shownMax)}` };
  }
  if (source === 'registrator') return { about: 'registrator', detail: 'its published ports are registered' };
  const all = environment(document);
  const values = [...variableTexts(all, name)];
  // Docker takes a name without a value, too.
  if (all.includes(name)) values.push('');
  if (!sources.includes('variable')) return failed('label', 'no-label', `there is no label ${label}`);
  if (values.length === 0) {
    const like = all
      .map((one) => one.split('=', 1)[0] ?? '')
      .find((one) => /^(discover|service[_.]?discover)$/i.test(one));
    if (like !== undefined) return failed('variable', 'other-variable', `there is ${like}, and ${name} is read`);
    const also = sources.includes('label') ? ` and no label ${label}` : '';
    return failed('variable', 'no-variable', `there is no ${name}${also}`);
  }
  if (values.every((value) => value.trim() === '')) return failed('variable', 'empty-variable', `${name} is empty`);
  return { about: 'variable', detail: `${name}=${values.join(',').slice(0, shownMax)}` };
}

const emptyOf = (source: Source | undefined): Reason => (source === 'label' ? 'empty-label' : 'empty-variable');

const shownMax = 200;

function environment(document: unknown): string[] {
  const env = field(field(document, 'Config'), 'Env');
  return Array.isArray(env) ? env.filter((one): one is string => typeof one === 'string') : [];
}

const field = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);
