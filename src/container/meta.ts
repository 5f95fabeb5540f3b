/**
 * The meta of an instance: a JSON text beside its key, for readers that want more than an address. Its value is written
 * as the container, its image and its operator say; members that are absent are left out.
 *
 *     {"privatePort":8080,"weight":10,"tags":["a"],"attributes":{"version":"2"},"zone":"a","container":"web-1",
 *      "image":"nginx:1.27","compose":{"project":"shop","service":"web"}}
 */
import type { Attributes, Names } from './container.ts';

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

/** The text for one instance. */
export function metaOf(
  { name, image, compose }: Names = {},
  privatePort: number,
  { weight, priority, tags, others }: Attributes,
  { zone }: MetaOptions,
): string {
  return JSON.stringify({
    ...{ privatePort, weight, priority, tags, attributes: others, zone },
    ...{ container: name, image, compose },
  });
}
