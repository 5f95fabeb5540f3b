/**
 * A peer: any program that puts the containers of a host into etcd, as a subject beside discover.
 *
 * It is a command line with placeholders and the layout of its keys. The words are split as a shell does it, with quotes and with
 * `NAME=value` in front, and no shell runs: its CPU and memory would be measured in place of the program's.
 */
import path from 'node:path';
import { findCommand } from '../../test/helpers/run.ts';
import { filled, type Layout, readLayout } from './layout.ts';

export interface Peer {
  /** Its subject: the last part of the program's path. */
  readonly name: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly layout: Layout;
}

const placeholders = ['docker', 'socket', 'etcd', 'etcd-address', 'prefix', 'ip', 'host'] as const;

export type Place = Readonly<Record<(typeof placeholders)[number], string>>;

/** Throws what is wrong with it. */
export function readPeer(command: string, layoutText: string, hostname: string): Peer {
  const layout = problemOf('--layout', () => readLayout(layoutText, hostname));
  return problemOf('--peer', () => {
    const all = wordsOf(command);
    const start = all.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word));
    const [program, ...rest] = start < 0 ? [] : all.slice(start);
    if (program === undefined) throw new Error('names no program');
    const found = findCommand(program.includes('/') ? path.resolve(program) : program);
    if (found === undefined) throw new Error(`${program} is no program that is installed here`);
    const assignments = all
      .slice(0, start)
      .map((word) => [word.split('=', 1)[0] ?? '', word.slice(word.indexOf('=') + 1)]);
    const peer = {
      name: path.basename(program),
      words: [found, ...rest],
      environment: Object.fromEntries(assignments),
      layout,
    };
    // Whether it names only what there is.
    placed(peer, Object.fromEntries(placeholders.map((name) => [name, ''])) as Place);
    return peer;
  });
}

function problemOf<Value>(option: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new Error(`${option}: ${(error as Error).message}`);
  }
}

/** Its words and its environment, with an engine and an etcd in place of the placeholders. */
export function placed({ environment, words }: Peer, place: Place) {
  const fill = (text: string): string => filled(text, place, placeholders.join(', '));
  const entries = Object.entries(environment).map(([name, value]) => [name, fill(value)]);
  return { words: words.map(fill), environment: Object.fromEntries(entries) as Record<string, string> };
}

function wordsOf(command: string): string[] {
  const words: string[] = [];
  let [word, quote] = ['', ''];
  let isOpen = false;
  for (const sign of command) {
    if (quote !== '' ? sign === quote : sign === '"' || sign === "'") {
      quote = quote === '' ? sign : '';
      isOpen = true;
    } else if (quote === '' && /\s/.test(sign)) {
      if (isOpen) words.push(word);
      [word, isOpen] = ['', false];
    } else {
      word += sign;
      isOpen = true;
    }
  }
  if (quote !== '') throw new Error(`has a ${quote} that is not closed`);
  return isOpen ? [...words, word] : words;
}
