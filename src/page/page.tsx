/*! This file contains Preact, Copyright (c) 2015-present Jason Miller, MIT licence: see LICENSES */
/**
 * The page: the frame around every view, and the choice of the view.
 *
 * Layout, from the top: header (host, views, state of the page's connection), the bar of a lost connection, the strip of
 * health, the bar of failed readiness checks, the view.
 *
 * Everything shown comes from the endpoint that served the page, by event streams. Text from containers or other hosts
 * goes through `Foreign`. Nothing here makes markup of a string.
 */
import { render } from 'preact';
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';
import type { Summary } from '../http/shapes.ts';
import { FleetView } from './fleet.tsx';
import { Here } from './here.ts';
import { HostView } from './host.tsx';
import { FleetHostView, ServiceView } from './instances.tsx';
import { Foreign, Mark } from './parts.tsx';
import { hrefOf, type Place, usePlace } from './place.ts';
import { ServicesView } from './services.tsx';
import { HealthStrip } from './strip.tsx';
import { duration } from './words.ts';

function Page() {
  const [, redraw] = useReducer((drawn: number) => drawn + 1, 0);
  const [here] = useState(() => new Here(() => redraw(undefined)));
  useEffect(() => here.follow(), [here]);
  const place = useViews();
  const { link, summary } = here;
  useEffect(() => {
    if (summary !== undefined) document.title = `${summary.ready ? '' : '(not ready) '}${summary.host.id} · discover`;
  }, [summary?.ready, summary?.host.id]);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('view')?.focus()}>
        Skip to the content
      </button>
      <Header summary={summary} here={here} place={place} />
      {link.kind === 'lost' && <Lost sinceMs={link.sinceMs} isFirst={summary === undefined} />}
      {summary !== undefined && <HealthStrip summary={summary} isLive={link.kind === 'live'} />}
      {summary?.ready === false && <NotReady summary={summary} />}
      <main>
        {summary === undefined ? (
          <Waiting isLost={link.kind === 'lost'} />
        ) : (
          <View here={here} summary={summary} place={place} />
        )}
      </main>
    </>
  );
}

/** The view that is shown. Another one is read from its beginning; `/` leads to the filter of all services. */
function useViews(): Place {
  const { place, go } = usePlace();
  const name = JSON.stringify(place);
  const before = useRef(name);
  const isFinding = useRef(false);
  // Before the next key: it is a letter of the filter.
  useLayoutEffect(() => {
    if (before.current !== name) document.getElementById(isFinding.current ? 'find' : 'view')?.focus();
    before.current = name;
    isFinding.current = false;
  }, [name]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const isTyping = event.target instanceof HTMLInputElement;
      if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const find = document.getElementById('find');
      if (find === null) {
        isFinding.current = true;
        go(hrefOf('services'));
      } else find.focus();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  return place;
}

interface ViewProps {
  readonly here: Here;
  readonly summary: Summary;
  readonly place: Place;
}

function View({ here, summary, place: { view, of } }: ViewProps) {
  const nowMs = Date.parse(summary.now);
  if (view === 'here') return <HostView here={here} summary={summary} />;
  if (view === 'services')
    return of === undefined ? <ServicesView nowMs={nowMs} /> : <ServiceView key={of} name={of} />;
  return of === undefined ? <FleetView nowMs={nowMs} /> : <FleetHostView key={of} host={of} />;
}

const views: readonly (readonly [view: Place['view'], name: string])[] = [
  ['here', 'This host'],
  ['services', 'Services'],
  ['fleet', 'Fleet'],
];

function Header({
  summary,
  here,
  place,
}: {
  readonly summary: Summary | undefined;
  readonly here: Here;
  readonly place: Place;
}) {
  const words = { connecting: 'Connecting', live: 'Live', lost: 'Connection lost' };
  const marks = { connecting: 'waiting', live: 'good', lost: 'bad' } as const;
  const { kind } = here.link;
  return (
    <header>
      <div class="who">
        <p class="brand">
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <circle cx="8" cy="8" r="6.5" />
            <circle class="dot" cx="8" cy="8" r="2.5" />
          </svg>
          discover
        </p>
        <h1>{summary === undefined ? 'discover' : <Foreign>{summary.host.id}</Foreign>}</h1>
        {summary !== undefined && (
          <p class="meta">
            <span>
              realm <Foreign>{summary.host.realm}</Foreign>
            </span>
            <span>{summary.host.ip || 'no address'}</span>
            {summary.host.ip6 && <span>{summary.host.ip6}</span>}
            <span>version {summary.version}</span>
            <span>up {duration(Date.parse(summary.now) - Date.parse(summary.startedAt))}</span>
          </p>
        )}
      </div>
      <nav aria-label="Views">
        {views.map(([view, name]) => (
          <a
            key={view}
            href={hrefOf(view)}
            aria-current={place.view === view ? (place.of === undefined ? 'page' : 'true') : undefined}
            aria-keyshortcuts={view === 'services' ? '/' : undefined}
          >
            {name}
          </a>
        ))}
      </nav>
      <p class={`link ${kind}`} role="status">
        <Mark kind={marks[kind]} />
        {words[kind]}
      </p>
    </header>
  );
}

/** Not read out: the state of the connection above is. */
function Lost({ sinceMs, isFirst }: { readonly sinceMs: number; readonly isFirst: boolean }) {
  const [nowMs, setNowMs] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const moment = new Date(sinceMs);
  return (
    <section class="bar" aria-label="Connection">
      <b>No connection to discover</b> since <time dateTime={moment.toISOString()}>{moment.toLocaleTimeString()}</time>,
      for {duration(nowMs - sinceMs)}. Reconnecting automatically.
      {isFirst ? '' : ' This page shows the last known state.'}
    </section>
  );
}

function NotReady({ summary }: { readonly summary: Summary }) {
  return (
    <section class="bar" aria-label="Readiness">
      <b>Not ready.</b>{' '}
      {summary.checks
        .filter(({ ok }) => !ok)
        .map(({ name, detail }) => (
          <span key={name}>
            {name}: <Foreign>{detail}</Foreign>{' '}
          </span>
        ))}
    </section>
  );
}

function Waiting({ isLost }: { readonly isLost: boolean }) {
  return (
    <p class="empty" id="view" tabIndex={-1}>
      {isLost ? 'Nothing is known yet.' : 'Connecting …'}
    </p>
  );
}

const root = document.getElementById('page');
if (root !== null) render(<Page />, root);
