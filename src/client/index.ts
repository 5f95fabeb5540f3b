/** The public entry for programs that look services up: `docker-discover/client`. */

export { DiscoverError, type ErrorCode } from '../errors.ts';
export type { Instance } from '../layout/instance.ts';
export type { Difference, Selector } from './catalogue.ts';
export { DiscoverClient } from './client.ts';
export type { Stale } from './feed.ts';
export { discoverFetch, discoverInterceptor, type HttpOptions } from './http.ts';
export type { ClientOptions, Place, Preference } from './options.ts';
export type { PickQuery, Query } from './query.ts';
export type { ServicesUpdate, Update } from './services.ts';
