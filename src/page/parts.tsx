/** Parts that several views use. */
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useState } from 'preact/hooks';
import type { ContainerNames } from './rows.ts';
import { foreign } from './words.ts';

/** Text from other writers: isolated in its writing direction, and never markup. */
export function Foreign({ children, code = false }: { readonly children: string; readonly code?: boolean }) {
  return <bdi class={code ? 'code' : undefined}>{foreign(children)}</bdi>;
}

/** The name of a container, or its id while the name is not known. */
export function ContainerName({ id, names: { name } }: { readonly id: string; readonly names: ContainerNames }) {
  return <Foreign code={!name}>{name || id}</Foreign>;
}

/** Text from another writer, and a button that copies it. */
export function Copied({ children: text, of }: { readonly children: string; readonly of: string }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setCopied(false), 2_000);
    return () => clearTimeout(timer);
  }, [isCopied]);
  return (
    <>
      <Foreign code>{text}</Foreign>{' '}
      <button type="button" class="copy" aria-label={`Copy ${of}`} onClick={() => void copy(text).then(setCopied)}>
        {isCopied ? 'Copied' : 'Copy'}
      </button>
      <span class="unseen" role="status">
        {isCopied ? `${of} copied` : ''}
      </span>
    </>
  );
}

/** False: the browser does not allow it. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** Over plain HTTP a browser gives no page its clipboard, except by this. */
function copyBySelection(text: string): boolean {
  const area = document.createElement('textarea');
  const before = document.activeElement;
  area.value = text;
  area.className = 'unseen';
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  if (before instanceof HTMLElement) before.focus();
  return isCopied;
}

/** The facts that name a container, for `Facts`. */
export function containerFacts(
  id: string,
  { name, image, compose }: ContainerNames,
): Record<string, ComponentChildren> {
  const ofCompose = [compose?.project, compose?.service].filter((part) => part !== undefined);
  return {
    Container: name ? <Foreign>{name}</Foreign> : undefined,
    'Container id': <Foreign code>{id}</Foreign>,
    Image: image ? <Foreign code>{image}</Foreign> : undefined,
    Compose: ofCompose.length > 0 ? <Foreign>{ofCompose.join(' / ')}</Foreign> : undefined,
  };
}

export type MarkKind = 'good' | 'bad' | 'waiting';

const marks: Readonly<Record<MarkKind, string>> = {
  good: 'M3 8.5l3.5 3.5L13 4.5',
  bad: 'M4 4l8 8M12 4l-8 8',
  waiting: 'M8 2.5a5.5 5.5 0 1 0 .01 0',
};

/** A shape beside a word that says the same. */
export function Mark({ kind }: { readonly kind: MarkKind }) {
  return (
    <svg class={`mark ${kind}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={marks[kind]} />
    </svg>
  );
}

interface SectionProps {
  readonly title: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Section({ title, class: name, children }: SectionProps) {
  const id = useId();
  return (
    <section class={name} aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}

/** Names and values; a value that is undefined is left out with its name. */
export function Facts({ of }: { readonly of: Readonly<Record<string, ComponentChildren>> }) {
  return (
    <dl class="facts">
      {Object.entries(of).map(([name, value]) =>
        value === undefined ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

/** A share of a whole as a bar, with its number in words beside it. */
export function Meter({ label, share }: { readonly label: string; readonly share: number }) {
  const part = Math.min(1, Math.max(0, share));
  return (
    <svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      <title>{label}</title>
      <rect class="whole" width="100" height="6" />
      <rect class="part" width={part * 100} height="6" />
    </svg>
  );
}

interface FilterProps {
  readonly label: string;
  readonly id?: string;
  readonly value: string;
  readonly change: (value: string) => void;
  /** The number of rows that are left, read out by a screen reader once typing has paused. */
  readonly found: string;
}

export function Filter({ label, id, value, change, found }: FilterProps) {
  const [said, say] = useState('');
  // Changes without typing are not read out.
  useEffect(() => {
    const timer = setTimeout(() => say(value === '' ? '' : found), 700);
    return () => clearTimeout(timer);
  }, [value]);
  return (
    <search class="filter">
      <input
        type="search"
        id={id}
        placeholder={label}
        aria-label={label}
        autocomplete="off"
        spellcheck={false}
        value={value}
        onInput={(event) => change(event.currentTarget.value)}
      />
      <span class="unseen" role="status">
        {said}
      </span>
    </search>
  );
}
