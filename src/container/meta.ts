/**
 * The meta of an instance: a JSON text beside its key, for readers that want more than an address. Its value is written
 * as the container, its image and its operator say; members that are absent are left out.
 *
 *     {"privatePort":8080,"weight":10,"tags":["a"],"attributes":{"version":"2"},"zone":"a","container":"web-1",
 *      "image":"nginx:1.27","compose":{"project":"shop","service":"web"}}
 */
import { isRecord } from './address/published.ts';
import type { Attributes } from './container.ts';

/** `attributes`: of instances that have some, or whose host has a zone or attributes. */
export type MetaPolicy = 'attributes' | 'always' | 'never';

export interface MetaOptions {
  /** `attributes` unless configured. */
  readonly meta?: MetaPolicy | undefined;
  /** The zone of the host. */
  readonly zone?: string | undefined;
  /** The attributes of every instance of the host, which those of a container override. */
  readonly hostAttributes?: Attributes | undefined;
}

const TEXT_MAX = 255;

/** The attributes of an instance: its own before those of its host. */
export function attributesWith(host: Attributes | undefined, own: Attributes | undefined): Attributes | undefined {
  if (host === undefined || own === undefined) return own ?? host;
  const others = { ...host.others, ...own.others };
  return { ...host, ...own, ...(Object.keys(others).length > 0 && { others }) };
}

/** Whether an instance with these attributes has a meta. */
export function hasMeta(attributes: Attributes | undefined, { meta = 'attributes', zone }: MetaOptions): boolean {
  if (meta === 'never') return false;
  return meta === 'always' || attributes !== undefined || zone !== undefined;
}

/** The text for one instance. `document` is an inspect document, and foreign. */
export function metaOf(
  document: unknown,
  privatePort: number,
  { weight, priority, tags, others }: Attributes,
  { zone }: MetaOptions,
): string {
  const config = recordOf(recordOf(document).Config);
  const labels = recordOf(config.Labels);
  const compose = {
    project: textOf(labels['com.docker.compose.project']),
    service: textOf(labels['com.docker.compose.service']),
  };
  return JSON.stringify({
    privatePort,
    weight,
    priority,
    tags,
    attributes: others,
    zone,
    container: textOf(recordOf(document).Name)?.replace(/^\//, ''),
    image: textOf(config.Image),
    compose: compose.project === undefined && compose.service === undefined ? undefined : compose,
  });
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {});
const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value.slice(0, TEXT_MAX) : undefined;
