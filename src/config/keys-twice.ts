/** Finds keys that a JSON text has twice in one object: `JSON.parse` keeps the last one, and drops the others in silence. */

interface Open {
  /** Of the object or list. */
  readonly path: string;
  readonly keys: Set<string>;
  /** Of the member under way. */
  member: string;
}

/** The paths of these keys, as `etcd.host`. `json` has been parsed before. */
export function keysTwice(json: string): string[] {
  const twice: string[] = [];
  const open: Open[] = [];
  let text = '';
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    const inner = open.at(-1);
    if (token === '{' || token === '[') {
      const path = inner?.member ?? '';
      open.push({ path, keys: new Set(), member: path });
    } else if (token === '}' || token === ']') {
      open.pop();
    } else if (token !== ':') {
      text = token;
    } else if (inner !== undefined) {
      const key = String(JSON.parse(text));
      inner.member = inner.path === '' ? key : `${inner.path}.${key}`;
      if (inner.keys.has(key)) twice.push(inner.member);
      inner.keys.add(key);
    }
  }
  return twice;
}
