/** Answers about the fleet: asked for once, or again and again while the page is seen, and the note while they are stale. */
import { useEffect, useState } from 'preact/hooks';
import type { Stale } from '../http/shapes.ts';
import { Foreign, Mark } from './parts.tsx';
import { duration, since } from './words.ts';

export interface Asked<Answer> {
  readonly answer: Answer | undefined;
  /** The reason why there is no answer. */
  readonly failure: string | undefined;
}

export async function ask<Answer>(path: string): Promise<Asked<Answer>> {
  try {
    const response = await fetch(path);
    const body = await response.json();
    if (response.ok) return { answer: body as Answer, failure: undefined };
    return { answer: undefined, failure: String((body as { error?: unknown }).error ?? response.status) };
  } catch (error) {
    return { answer: undefined, failure: error instanceof Error ? error.message : String(error) };
  }
}

/** The least time between two requests; one that takes long is made more seldom. */
const refreshMs = 5_000;
const restShare = 10;

/** The answer, asked for anew every few seconds while the page is seen. */
export function useAnswer<Answer>(path: string): Asked<Answer> | undefined {
  const [asked, setAsked] = useState<Asked<Answer>>();
  useEffect(() => {
    let isOver = false;
    let timer: number | undefined;
    const refresh = async (): Promise<void> => {
      const beganMs = performance.now();
      if (!document.hidden) {
        const next = await ask<Answer>(path);
        // The last answer stays while there is no new one.
        if (!isOver) setAsked((before) => ({ answer: next.answer ?? before?.answer, failure: next.failure }));
      }
      const restMs = Math.max(refreshMs, restShare * (performance.now() - beganMs));
      if (!isOver) timer = setTimeout(refresh, restMs);
    };
    setAsked(undefined);
    void refresh();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [path]);
  return asked;
}

interface StaleNoteProps {
  readonly stale: Stale | undefined;
  /** The reason why there is no answer at all. */
  readonly failure: string | undefined;
  readonly nowMs: number;
}

export function StaleNote({ stale, failure, nowMs }: StaleNoteProps) {
  if (failure === undefined && stale === undefined) return null;
  return (
    <p class="note" role="status">
      <Mark kind="bad" />
      {stale === undefined
        ? 'No answer: '
        : `etcd last answered ${since(stale.since, nowMs) ?? duration(stale.ageMs)} ago, showing the last known state: `}
      <Foreign>{failure ?? stale?.cause ?? ''}</Foreign>
    </p>
  );
}
