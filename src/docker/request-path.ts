/**
 * The requests that discover may send to an engine: five paths, nothing else, and only by GET.
 *
 * A Docker socket is worth as much as root on its host, so every request to an engine passes here,
 * from every client. The check is on the whole target as it is sent, with the version that the engine
 * itself named.
 */

const allowed =
  /^(?:\/v\d+\.\d+)?\/(?:_ping|version|events\?[\w=&.%~!*'()-]*|containers\/json(?:\?(?:all=1|filters=%7B[\w.%~!*'()-]*%7D))?|containers\/[0-9a-f]{64}\/json)$/;

/** The target of a request. Throws for one that is not allowed. */
export function requestPath(versionPrefix: string, path: string): string {
  const target = versionPrefix + path;
  if (!allowed.test(target)) {
    throw new Error(`Path must be one of the five that discover may ask for, got ${JSON.stringify(target)}`);
  }
  return target;
}
