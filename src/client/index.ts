/** The public entry for programs that look services up: `docker-discover/client`. */

export { DiscoverError, type ErrorCode } from '../errors.ts';
export type { Instance } from '../layout/instance.ts';
export type { Difference, Selector } from './catalogue.ts';
export { DiscoverClient, type PickQuery, type Query } from './client.ts';
export type { Stale } from './feed.ts';
export type { ClientOptions, Place, Preference } from './options.ts';
export type { ServicesUpdate, Update } from './services.ts';
