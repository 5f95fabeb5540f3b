/**
 * The meta of an instance as a reader of etcd sees it: the value that the agent writes in `container/meta.ts`, parsed.
 *
 * Other programs can write to etcd too, and a container chooses its attributes. So a member that does not have exactly its
 * form is left out, and a text that is no such JSON has no members. Nothing here throws, and no instance is lost for it.
 */

export interface Meta {
  /** The port inside the container. */
  readonly privatePort?: number;
  /** From 0 to 65535; absent means 1. An instance of weight 0 gets traffic only where no other instance can. */
  readonly weight?: number;
  /** From 0 to 65535; absent means 10. Instances of the lowest number come first, as in SRV records. */
  readonly priority?: number;
  readonly tags?: readonly string[];
  /** Every other attribute, by its name: `[a-z][a-z0-9_-]{0,63}`. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** The zone of the host. */
  readonly zone?: string;
  /** The name of the container. */
  readonly container?: string;
  /** The image as the container was started with it, such as `nginx:1.27`. */
  readonly image?: string;
  /**
   * Where `etcd.meta` is `always`: `ready`, or the reason why it has no key of its own: `starting`, `unhealthy`, `draining`,
   * `paused`, `held` or `maintenance`. Later versions may add to these.
   */
  readonly state?: string;
  /** The project and the service of Docker Compose. */
  readonly compose?: { readonly project?: string; readonly service?: string };
}

/** More than the agent ever writes: 4 KiB of attributes for a service and as much for the host, and a few names. */
const TEXT_MAX = 16 * 1024;
const NAME = /^[a-z][a-z0-9_-]{0,63}$/;
const STATE = /^[a-z][a-z-]{0,31}$/;
/** As `container/sources/attributes.ts` refuses them. */
const NEVER_IN_A_TEXT = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

/** Absent members are left out, so that an instance without a meta has exactly the fields of its key and value. */
export function parseMeta(text: string): Meta {
  const record = recordOf(text);
  if (record === undefined) return {};
  const privatePort = integerOf(record.privatePort, 1);
  const weight = integerOf(record.weight, 0);
  const priority = integerOf(record.priority, 0);
  const tags = tagsOf(record.tags);
  const attributes = attributesOf(record.attributes);
  const zone = textOf(record.zone);
  const container = textOf(record.container);
  const image = textOf(record.image);
  const compose = composeOf(record.compose);
  const state = typeof record.state === 'string' && STATE.test(record.state) ? record.state : undefined;
  // Assigned one by one: as a spread of nine, V8 would make each object a dictionary of three times the size.
  const meta: { -readonly [Name in keyof Meta]: Meta[Name] } = {};
  if (privatePort !== undefined) meta.privatePort = privatePort;
  if (weight !== undefined) meta.weight = weight;
  if (priority !== undefined) meta.priority = priority;
  if (tags !== undefined) meta.tags = tags;
  if (attributes !== undefined) meta.attributes = attributes;
  if (zone !== undefined) meta.zone = zone;
  if (container !== undefined) meta.container = container;
  if (image !== undefined) meta.image = image;
  if (compose !== undefined) meta.compose = compose;
  if (state !== undefined) meta.state = state;
  return meta;
}

function recordOf(text: string): Readonly<Record<string, unknown>> | undefined {
  if (text.length > TEXT_MAX) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function integerOf(value: unknown, min: number): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= 65_535 ? value : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && !NEVER_IN_A_TEXT.test(value) ? value : undefined;
}

function tagsOf(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const tags = value.every((tag) => textOf(tag) === tag) ? value : value.filter((tag) => textOf(tag) !== undefined);
  return tags.length > 0 ? tags : undefined;
}

/** `fromEntries` defines own properties, so no name reaches a prototype. */
function attributesOf(value: unknown): Readonly<Record<string, string>> | undefined {
  const found: (readonly [string, string])[] = [];
  for (const [name, text] of isRecord(value) ? Object.entries(value) : []) {
    if (NAME.test(name) && typeof text === 'string' && !NEVER_IN_A_TEXT.test(text)) found.push([name, text]);
  }
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

function composeOf(value: unknown): Meta['compose'] {
  if (!isRecord(value)) return undefined;
  const [project, service] = [textOf(value.project), textOf(value.service)];
  if (project === undefined) return service === undefined ? undefined : { service };
  return service === undefined ? { project } : { project, service };
}
