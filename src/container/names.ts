/**
 * What people call a container: its name, its image and its place in a compose project. For log, status, meta and views;
 * no key holds any of it. The text is foreign: it is cut to 255 characters, with \ufffd for what steers a reader.
 */
import { isRecord } from './address/published.ts';
import type { Names } from './container.ts';
import { shown } from './sources/advertisement.ts';

const TEXT_MAX = 255;

/** Undefined if none is known. `document` is an inspect document, and foreign. */
export function namesOf(document: unknown): Names | undefined {
  const { Name, Config } = recordOf(document);
  const { Image, Labels } = recordOf(Config);
  const labels = recordOf(Labels);
  const name = textOf(Name)?.replace(/^\//, '');
  const image = textOf(Image);
  const project = textOf(labels['com.docker.compose.project']);
  const service = textOf(labels['com.docker.compose.service']);
  // Built member by member, on the way of every start.
  const names: { -readonly [K in keyof Names]: Names[K] } = {};
  if (name !== undefined) names.name = name;
  if (image !== undefined) names.image = image;
  if ((project ?? service) !== undefined) {
    names.compose = { ...(project !== undefined && { project }), ...(service !== undefined && { service }) };
  }
  return (name ?? image ?? names.compose) === undefined ? undefined : names;
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {});
const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? shown(value.slice(0, TEXT_MAX)) : undefined;
