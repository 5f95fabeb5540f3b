/** Which address is published: the policy of the host, and what the labels of a container ask for in its place. */

import { instanceHost } from './ip.ts';

/** `published`: where the engine publishes the port; `container`: at the container's own; `either`: own where it is not published. */
export const addressSources = ['published', 'container', 'either'] as const;
export type AddressSource = (typeof addressSources)[number];

export interface AddressPolicy {
  readonly from: AddressSource;
  /** Globs of the engine's networks, in order of preference. */
  readonly networks?: readonly string[] | undefined;
  /** `both`: an instance for each family where a container is reached by both. */
  readonly families?: 'one' | 'both' | undefined;
  /** CIDRs, and globs of the engine's networks, in which an address by label may lie; undefined: none is allowed. */
  readonly allowLabel?: readonly string[] | undefined;
}

export interface AddressWishes {
  readonly from?: AddressSource;
  readonly networks?: readonly string[];
  /** As in a URL. */
  readonly host?: string;
}

/** Undefined: the text is neither the name of a source nor an address. */
export function readAddressWish(text: string): AddressWishes | undefined {
  const value = text.trim().toLowerCase();
  const from = addressSources.find((source) => source === value);
  if (from !== undefined) return { from };
  const host = instanceHost(value);
  return host === undefined ? undefined : { host };
}

/** More than a container is on. */
const NETWORKS_MAX = 32;
const NETWORK = /^[^\s\p{Cc}]{1,128}$/u;

/** Undefined: the text is no list of networks. */
export function networksOf(text: string): readonly string[] | undefined {
  const networks = text.split(',').map((one) => one.trim());
  const isList = networks.length <= NETWORKS_MAX && networks.every((one) => NETWORK.test(one));
  return isList ? networks : undefined;
}
