/** What the page shows of one container: a row for each of its services, and the entries that are not published. Pure. */
import type { Container } from '../http/shapes.ts';
import { reasons } from './words.ts';

/** What names a container beside its id; absent or null while it is not known. */
export interface ContainerNames {
  readonly name?: string | null;
  readonly image?: string | null;
  readonly compose?: { readonly project?: string; readonly service?: string } | null;
}

/** A container and its names, where the agent tells them. */
export type NamedContainer = Container & ContainerNames;

export interface OfferRow {
  /** The key in etcd: no two rows share one. */
  readonly key: string;
  readonly name: string;
  readonly url: string;
  /** The id of the container. */
  readonly container: string;
  readonly names: ContainerNames;
  readonly state: 'published' | Container['state'];
}

export interface ProblemEntry {
  /** The reason. */
  readonly code: string;
  readonly title: string;
  readonly remedy: string;
  /** The id of the container. */
  readonly container: string;
  readonly names: ContainerNames;
  /** As advertised; empty for a problem of the whole container. */
  readonly entry: string;
  readonly detail: string;
}

export function offersOf(names: NamedContainer): OfferRow[] {
  const { id: container, state, services } = names;
  return services.map(({ key, name, url, published }) => ({
    ...{ key, name, url, container, names },
    state: published ? 'published' : state,
  }));
}

export function problemsOf(names: NamedContainer): ProblemEntry[] {
  const { id: container, state, refusals, outage, traffic } = names;
  const entries: ProblemEntry[] = [];
  const add = (code: string, remedy: string, entry: string, detail: string): void => {
    const title = Object.hasOwn(reasons, code) ? reasons[code as keyof typeof reasons].title : code;
    entries.push({ code, title, remedy, container, names, entry, detail });
  };
  if (traffic !== null) {
    const { reason, remedy, since, maintenance } = traffic;
    add(reason, remedy, '', `since ${since}${maintenance === undefined ? '' : `, ${decisionOf(maintenance)}`}`);
  }
  if (outage !== null) add(state, outage.remedy, '', outage.detail);
  for (const { code, entry, detail, remedy } of refusals) add(code, remedy, entry, detail);
  return entries;
}

/** `by anna@desk-1: new disk (the whole host)`. */
function decisionOf({ by, reason, of }: NonNullable<NonNullable<Container['traffic']>['maintenance']>): string {
  const who = `by ${by ?? 'an unknown person'}${reason === null ? '' : `: ${reason}`}`;
  return of === 'host' ? `${who} (the whole host)` : who;
}

/** The texts by which a filter finds a container. */
export function textsOf({ name, image, compose }: ContainerNames): string[] {
  return [name ?? '', image ?? '', compose?.project ?? '', compose?.service ?? ''];
}
