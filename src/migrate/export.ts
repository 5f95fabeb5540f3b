/**
 * The text of an export of etcd to its keys and values. Pure.
 *
 * Four forms are known by their content: the answer of etcd v2 to `GET /v2/keys/<tree>?recursive=true`, what `etcdctl get
 * --prefix -w json` prints, a JSON array of `{"key", "value"}`, and such objects one a line.
 */
import { DiscoverError } from '../errors.ts';

export interface Entry {
  readonly key: string;
  readonly value: string;
}

const forms =
  'an answer of GET /v2/keys/<tree>?recursive=true, the output of etcdctl get --prefix -w json, or {"key", "value"} objects';

/** Throws `LIST_INVALID`; `source` names the text for people. */
export function readExport(text: string, source: string): Entry[] {
  const entries = entriesOf(text.replace(/^\uFEFF/, ''));
  if (entries === undefined) throw new DiscoverError('LIST_INVALID', `Cannot read ${source}: must hold ${forms}`);
  return entries;
}

function entriesOf(text: string): Entry[] | undefined {
  const whole = parsed(text);
  if (isObject(whole)) {
    if (isObject(whole.node)) return leavesOf(whole.node);
    if (Array.isArray(whole.kvs)) return listed(whole.kvs, (part) => Buffer.from(part, 'base64').toString());
    // etcdctl leaves `kvs` out where there is no key.
    if (isObject(whole.header)) return [];
    return listed([whole]);
  }
  if (Array.isArray(whole)) return listed(whole);
  return listed(text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [parsed(line)])));
}

/** Without recursion: a tree may be deep. Directories have no value. */
function leavesOf(root: Readonly<Record<string, unknown>>): Entry[] {
  const leaves: Entry[] = [];
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const node = waiting.shift();
    if (!isObject(node)) continue;
    for (const child of Array.isArray(node.nodes) ? (node.nodes as unknown[]) : []) waiting.push(child);
    if (typeof node.key === 'string' && typeof node.value === 'string' && node.dir !== true) {
      leaves.push({ key: node.key, value: node.value });
    }
  }
  return leaves;
}

function listed(items: readonly unknown[], decode: (part: string) => string = (part) => part): Entry[] | undefined {
  const entries: Entry[] = [];
  for (const item of items) {
    // etcdctl leaves an empty value out.
    const { key, value = '' } = isObject(item) ? item : {};
    if (typeof key !== 'string' || typeof value !== 'string') return undefined;
    entries.push({ key: decode(key), value: decode(value) });
  }
  return entries;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
