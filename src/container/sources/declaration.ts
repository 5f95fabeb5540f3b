/**
 * What a container declares, from all of its sources: entries, their realm, and what was refused.
 *
 * The label takes the place of the variable where there is one, so a container of somebody else's image can be
 * published, or silenced, without a change of the image. What the host forbids is taken out at the end.
 */
import { isRecord } from '../address/published.ts';
import type { AddressWishes } from '../address/wishes.ts';
import type { Attributes, Refusal } from '../container.ts';
import { matchesGlob } from '../glob.ts';
import type { TrafficWishes } from '../traffic.ts';
import {
  type Advertisement,
  acceptedNames,
  acceptName,
  ENTRIES_MAX,
  type Entry,
  type GrammarOptions,
  listed,
  parseAdvertisement,
  refusal,
  textOf,
} from './advertisement.ts';
import { attributesOf, type FoundAttribute } from './attributes.ts';
import { type LabelSays, readLabels } from './label.ts';
import { readRegistrator } from './registrator.ts';
import { variableTexts } from './variable.ts';

export type Source = 'variable' | 'label' | 'registrator';

export interface DeclarationOptions extends GrammarOptions {
  /** The environment variable to read, `DISCOVER` unless configured. */
  readonly serviceVariable: string;
  /** The sources that are read; `variable` and `label` unless configured. */
  readonly sources?: readonly Source[] | undefined;
  /** Of registrator's source, only ports with a name of their own. */
  readonly explicit?: boolean | undefined;
  /** The prefix of labels, `discover` unless configured. */
  readonly label?: string | undefined;
  /** The realms that a container may name beside that of the host. */
  readonly realms?: readonly string[] | undefined;
  /** `<name glob> <image glob>`: an entry has to match one of them; undefined: every entry is allowed. */
  readonly allow?: readonly string[] | undefined;
}

export interface Declaration extends Advertisement {
  /** The source of the advertisement; undefined if the container has none. */
  readonly source: Source | undefined;
  /** The realm that the container names; undefined: that of the host. */
  readonly realm: string | undefined;
  /** What its labels ask for in place of the host's policy of traffic. */
  readonly wishes?: TrafficWishes | undefined;
  /** What its labels ask for in place of the host's policy of addresses. */
  readonly address?: AddressWishes | undefined;
  /** By the name of a service as in an entry, or by the text of one entry. */
  readonly attributes: ReadonlyMap<string, Attributes>;
  /** By the text of an entry the rule of registrator's that made its name. */
  readonly rules: ReadonlyMap<string, string>;
}

const noAttributes: ReadonlyMap<string, Attributes> = new Map();
const noRules: ReadonlyMap<string, string> = new Map();

const silent: LabelSays = { text: undefined, isEnabled: true, realm: undefined, attributes: [], refusals: [] };

/** `document` is an inspect document, and foreign. */
export function readDeclaration(document: unknown, options: DeclarationOptions): Declaration {
  const { sources = ['variable', 'label'], label = 'discover' } = options;
  const config = isRecord(document) && isRecord(document.Config) ? document.Config : {};
  const says = sources.includes('label') ? readLabels(config.Labels, label) : silent;
  const texts =
    says.text !== undefined
      ? [says.text]
      : sources.includes('variable')
        ? variableTexts(config.Env, options.serviceVariable)
        : [];
  const source = texts.length === 0 ? undefined : says.text !== undefined ? 'label' : 'variable';
  const advertised = parseAdvertisement(texts, options);
  const { realm } = says;
  const isRegistrator = sources.includes('registrator');
  if (!isRegistrator && isPlain(says) && options.allow === undefined) {
    // The usual way, on which copies would cost more than the rest.
    const { entries, refusals } = advertised;
    const { wishes, address } = says;
    return { entries, refusals, attributes: noAttributes, rules: noRules, source, realm, wishes, address };
  }
  const registered = isRegistrator ? registeredOf(document, advertised, options) : undefined;
  const entries = registered?.entries ?? advertised.entries;
  const all = [...advertised.refusals, ...says.refusals, ...(registered?.refusals ?? [])];
  const none = (reason: Refusal): Declaration => {
    return {
      entries: [],
      refusals: [...all, reason],
      attributes: noAttributes,
      rules: noRules,
      source,
      realm: undefined,
    };
  };
  if (entries.length > 0 && !says.isEnabled) return none(refusal('disabled', '', `The label ${label}.enable is false`));
  if (realm !== undefined && !isAllowedRealm(realm, options)) {
    return none(
      refusal('realm-not-allowed', realm, `The label ${label}.realm names a realm that is not one of host.realms`),
    );
  }
  const allowed = entries.filter((entry) => {
    if (isAllowed(entry, config.Image, options.allow)) return true;
    all.push(refusal('name-not-allowed', textOf(entry), 'No line of discover.allow has this name with this image'));
    return false;
  });
  const ofLabels = says.attributes.map((one) => ({
    ...one,
    service: acceptName(one.service, options.namePolicy) ?? one.service,
  }));
  const named = attributesOf(ofLabels, new Set(allowed.map(({ name }) => name)));
  const ofEntries = attributesOf(registered?.attributes ?? [], new Set(allowed.map(textOf)));
  all.push(...listed([...named.refusals, ...ofEntries.refusals]));
  const attributes = new Map([...named.byService, ...ofEntries.byService]);
  return {
    ...{ entries: allowed, refusals: all, realm, attributes, rules: registered?.rules ?? noRules },
    ...{ wishes: says.wishes, address: says.address },
    source: source ?? (allowed.length > 0 ? 'registrator' : undefined),
  };
}

const isPlain = (says: LabelSays): boolean =>
  says.isEnabled && says.realm === undefined && says.refusals.length === 0 && says.attributes.length === 0;

/** The entries that are advertised, and behind them those that registrator would register at other ports. */
function registeredOf(document: unknown, advertised: Advertisement, options: DeclarationOptions) {
  const entries = [...advertised.entries];
  const refusals: Refusal[] = [];
  const attributes: FoundAttribute[] = [];
  const rules = new Map<string, string>();
  const portOf = ({ privatePort, protocol }: Pick<Entry, 'privatePort' | 'protocol'>): string =>
    `${privatePort}/${protocol}`;
  const taken = new Set(entries.map(portOf));
  for (const { name: given, privatePort, protocol, rule, attributes: own } of readRegistrator(
    document,
    options.explicit,
  )) {
    if (taken.has(portOf({ privatePort, protocol }))) continue;
    const name = acceptName(given, options.namePolicy);
    if (name === undefined) {
      refusals.push(refusal('name-invalid', `${given}:${privatePort}/${protocol}`, acceptedNames(options.namePolicy)));
      continue;
    }
    if (entries.length >= (options.entriesMax ?? ENTRIES_MAX)) {
      refusals.push(refusal('too-many', `${given}:${privatePort}`, `The first ${entries.length} entries are taken`));
      break;
    }
    const entry = { name, privatePort, protocol };
    entries.push(entry);
    rules.set(textOf(entry), rule);
    for (const one of own()) attributes.push({ ...one, service: textOf(entry) });
  }
  return { entries, refusals: listed(refusals), attributes, rules };
}

function isAllowedRealm(realm: string, { realms = [] }: DeclarationOptions): boolean {
  return realms.includes(realm);
}

function isAllowed({ name }: Entry, image: unknown, allow: readonly string[] | undefined): boolean {
  if (allow === undefined) return true;
  return allow.some((line) => {
    const [names = '', images = ''] = line.trim().split(/\s+/);
    return matchesGlob(names, name) && matchesGlob(images, typeof image === 'string' ? image : '');
  });
}
