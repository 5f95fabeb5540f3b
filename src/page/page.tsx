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
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import type { Summary } from '../http/shapes.ts';
import { FleetHostView, FleetView } from './fleet.tsx';
import { Here } from './here.ts';
import { HostView } from './host.tsx';
import { Foreign, Mark } from './parts.tsx';
import { HealthStrip } from './strip.tsx';
import { duration } from './words.ts';

type Route = { readonly view: 'here' } | { readonly view: 'fleet' } | { readonly view: 'host'; readonly host: string };

function readRoute(): Route {
  const [view, host] = location.hash.slice(1).split('/');
  if (view !== 'fleet') return { view: 'here' };
  try {
    if (host) return { view: 'host', host: decodeURIComponent(host) };
  } catch {
    // A hash that was typed by hand.
  }
  return { view: 'fleet' };
}

function useRoute(): Route {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const onChange = (): void => setRoute(readRoute());
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return route;
}

function Page() {
  const [, redraw] = useReducer((drawn: number) => drawn + 1, 0);
  const [here] = useState(() => new Here(() => redraw(undefined)));
  useEffect(() => here.follow(), [here]);
  const route = useRoute();
  const place = JSON.stringify(route);
  const before = useRef(place);
  // Another view is read from its beginning.
  useEffect(() => {
    if (before.current !== place) document.getElementById('view')?.focus();
    before.current = place;
  }, [place]);

  const { link, summary } = here;
  useEffect(() => {
    if (summary !== undefined) document.title = `${summary.ready ? '' : '(not ready) '}${summary.host.id} · discover`;
  }, [summary?.ready, summary?.host.id]);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('view')?.focus()}>
        Skip to the content
      </button>
      <Header summary={summary} here={here} route={route} />
      {link.kind === 'lost' && <Lost sinceMs={link.sinceMs} isFirst={summary === undefined} />}
      {summary !== undefined && <HealthStrip summary={summary} isLive={link.kind === 'live'} />}
      {summary?.ready === false && <NotReady summary={summary} />}
      <main>
        {summary === undefined ? (
          <Waiting isLost={link.kind === 'lost'} />
        ) : (
          <View here={here} summary={summary} route={route} />
        )}
      </main>
    </>
  );
}

function View({ here, summary, route }: { readonly here: Here; readonly summary: Summary; readonly route: Route }) {
  if (route.view === 'here') return <HostView here={here} summary={summary} />;
  if (route.view === 'host') return <FleetHostView key={route.host} host={route.host} />;
  return <FleetView nowMs={Date.parse(summary.now)} connection={here.connections} />;
}

function Header({
  summary,
  here,
  route,
}: {
  readonly summary: Summary | undefined;
  readonly here: Here;
  readonly route: Route;
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
        <a href="#here" aria-current={route.view === 'here' ? 'page' : undefined}>
          This host
        </a>
        <a href="#fleet" aria-current={route.view === 'here' ? undefined : route.view === 'fleet' ? 'page' : 'true'}>
          Fleet
        </a>
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
