/** What is not published, in groups of one reason with its remedy. */
import { useState } from 'preact/hooks';
import type { Problem } from './containers.ts';
import { ContainerName, Foreign, Section } from './parts.tsx';
import { plural } from './words.ts';

export function NotPublished({ problems, count }: { readonly problems: readonly Problem[]; readonly count: string }) {
  if (problems.length === 0) return null;
  return (
    <Section
      title={
        <>
          Not published <span class="count">{count}</span>
        </>
      }
      class="problems"
    >
      {problems.map((problem) => (
        <ProblemGroup key={problem.code} problem={problem} />
      ))}
    </Section>
  );
}

const entriesAtOnce = 10;
const moreAtOnce = 100;

function ProblemGroup({ problem: { title, remedy, entries } }: { readonly problem: Problem }) {
  const [limit, setLimit] = useState(entriesAtOnce);
  return (
    <article>
      <h3>
        {title} <span class="count">{plural(entries.length, 'entry', 'entries')}</span>
      </h3>
      <p class="remedy">{remedy}</p>
      <ul>
        {entries.slice(0, limit).map(({ container, names, entry, detail }) => (
          <li key={`${container} ${entry}`}>
            <span>
              <ContainerName id={container} names={names} />
              {names.image ? (
                <span class="image">
                  <Foreign>{names.image}</Foreign>
                </span>
              ) : null}
            </span>
            {entry !== '' && (
              <b>
                <Foreign code>{entry}</Foreign>
              </b>
            )}
            <Foreign>{detail}</Foreign>
          </li>
        ))}
      </ul>
      {entries.length > limit && (
        <button type="button" class="more" onClick={() => setLimit(limit + moreAtOnce)}>
          {plural(Math.min(moreAtOnce, entries.length - limit), 'more entry', 'more entries')}
        </button>
      )}
    </article>
  );
}
