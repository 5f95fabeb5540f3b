/**
 * What discover may ask of an engine: five paths, nothing else, and by GET alone.
 *
 * A Docker socket is worth as much as root on its host, so everything that is sent to one passes here,
 * whichever client sends it. What is looked at is the whole target as it goes out, the version that
 * the engine itself named included.
 */

const allowed =
  /^(?:\/v\d+\.\d+)?\/(?:_ping|version|events\?[\w=&.%~-]*|containers\/json(?:\?(?:all=1|filters=%7B[\w%]*%7D))?|containers\/[0-9a-f]{64}\/json)$/;

/** The target of a request. Throws for one that is not allowed. */
export function requestPath(versionPrefix: string, path: string): string {
  const target = versionPrefix + path;
  if (!allowed.test(target)) {
    throw new Error(`Path must be one of the five that discover may ask for, got ${JSON.stringify(target)}`);
  }
  return target;
}
