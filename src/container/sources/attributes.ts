/**
 * Attributes: what a container says of one of its services beside the address, such as its weight or its version.
 *
 *     discover.<service>.<attribute>    a label; the last dot parts the two, as a service may have dots
 *
 * An attribute that is not right is refused, and the service is published without it. Names are lower-case, and a value
 * holds no character that steers a reader.
 */
import type { Attributes, Refusal } from '../container.ts';
import { refusal } from './advertisement.ts';

/** The attributes that have a meaning of their own. A test writes the table of the documents from here. */
export const attributeMeanings = {
  weight: 'an integer from 0 to 65535: the share of the traffic; 1 without one',
  priority: 'an integer from 0 to 65535: the lowest one gets the traffic, as in SRV records; 10 without one',
  tags: 'a list of texts, with commas',
  scheme: '`https`, `h2c` or `tcp` for Traefik, `http` or `https` for Prometheus',
  'metrics-path': 'the path at which Prometheus asks',
} as const;

/** One label of an attribute, as it was found. */
export interface FoundAttribute {
  readonly label: string;
  readonly service: string;
  readonly name: string;
  /** A list only for `tags`, where it was taken apart already. */
  readonly value: string | readonly string[];
}

const ATTRIBUTES_MAX = 32;
const BYTES_MAX = 4 * 1024;
const NAME = /^[a-z][a-z0-9_-]{0,63}$/;
const NEVER_IN_A_VALUE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

/** By the name of a service; `services` are those that the container advertises. */
export function attributesOf(
  found: readonly FoundAttribute[],
  services: ReadonlySet<string>,
): { readonly byService: ReadonlyMap<string, Attributes>; readonly refusals: readonly Refusal[] } {
  const refusals: Refusal[] = [];
  const drafts = new Map<string, Draft>();
  for (const { label, service, name, value } of found) {
    const refuse = (detail: string): void =>
      void refusals.push(refusal('attribute-invalid', `${label}=${String(value)}`, detail));
    if (!services.has(service)) {
      refusals.push(refusal('attribute-stray', label, `The container advertises no service ${service.slice(0, 64)}`));
      continue;
    }
    if (!NAME.test(name)) {
      refuse('The name of an attribute has 1 to 64 of a-z 0-9 _ - and begins with a letter');
      continue;
    }
    if (NEVER_IN_A_VALUE.test(String(value))) {
      refuse('The value of an attribute has no control characters, line breaks or bidi characters');
      continue;
    }
    const draft = drafts.get(service) ?? { others: {}, count: 0, bytes: 0 };
    drafts.set(service, draft);
    const bytes = draft.bytes + Buffer.byteLength(name) + Buffer.byteLength(String(value));
    if (draft.count === ATTRIBUTES_MAX || bytes > BYTES_MAX) {
      const limit = `A service has at most ${ATTRIBUTES_MAX} attributes and ${BYTES_MAX} bytes of them`;
      refusals.push(refusal('attribute-too-many', label, limit));
      continue;
    }
    const problem = add(draft, name, value);
    if (problem !== undefined) {
      refuse(problem);
      continue;
    }
    draft.count++;
    draft.bytes = bytes;
  }
  return {
    byService: new Map([...drafts].filter(([, { count }]) => count > 0).map(([name, draft]) => [name, settled(draft)])),
    refusals,
  };
}

interface Draft {
  weight?: number;
  priority?: number;
  tags?: readonly string[];
  readonly others: Record<string, string>;
  count: number;
  bytes: number;
}

/** What is wrong with the attribute, if anything is. */
function add(draft: Draft, name: string, given: FoundAttribute['value']): string | undefined {
  const value = String(given);
  if (name === 'weight' || name === 'priority') {
    if (!/^(?:0|[1-9]\d{0,4})$/.test(value.trim()) || Number(value) > 65_535)
      return `${name} is an integer from 0 to 65535`;
    draft[name] = Number(value);
  } else if (name === 'tags') {
    const tags = typeof given === 'string' ? given.split(',') : given;
    draft.tags = tags.map((tag) => tag.trim()).filter((tag) => tag !== '');
  } else {
    draft.others[name] = value;
  }
  return undefined;
}

/** Absent members are left out, so that a reader sees no attribute that was not given. */
function settled({ weight, priority, tags, others }: Draft): Attributes {
  return {
    ...(weight !== undefined && { weight }),
    ...(priority !== undefined && { priority }),
    ...(tags !== undefined && { tags }),
    ...(Object.keys(others).length > 0 && { others }),
  };
}
