/** The source `variable`: what the environment of a container says in the configured variable, `DISCOVER` unless changed. */

/** The values of every occurrence, in order. The environment is foreign: what is not text says nothing. */
export function variableTexts(env: unknown, name: string): readonly string[] {
  if (!Array.isArray(env)) return [];
  const prefix = `${name}=`;
  const texts: string[] = [];
  for (const one of env) {
    if (typeof one === 'string' && one.startsWith(prefix)) texts.push(one.slice(prefix.length));
  }
  return texts;
}
