import { useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { usePathname } from 'wouter/use-browser-location';
import { useParams } from './address';
import { useAnswer, useTurn } from './answer';
import { withParams, without } from './conditions';
import { formatCountry, formatNumber, formatShare } from './format';
import {
  SessionGroupsDocument,
  type BreakdownPartFragment,
  type SessionDimension,
  type SessionFilter,
} from './generated/graphql';
import { Dimmed, Empty, Loading, Problem } from './parts';
import { END_REASONS } from './session-filter';
import { fetchLater } from './turns';

/** What sessions are counted by: its name, and the parameter of the filter that a click sets. */
const DIMENSIONS = {
  ENTRY_SOURCE: { name: 'Entry pages', param: 'entry' },
  EXIT_SOURCE: { name: 'Exit pages', param: 'exit' },
  BROWSER: { name: 'Browsers', param: 'browser' },
  OPERATING_SYSTEM: { name: 'Systems', param: 'system' },
  DEVICE: { name: 'Devices', param: 'device' },
  COUNTRY: { name: 'Countries', param: 'country' },
  REGION: { name: 'Regions', param: 'region' },
  CITY: { name: 'Cities', param: 'city' },
  VERSION: { name: 'Versions', param: 'version' },
  END_REASON: { name: 'Endings', param: 'end' },
} satisfies Record<SessionDimension, { name: string; param: string }>;

/** The three boxes below the chart: each shows one of its dimensions at a time. */
const BOXES = [
  ['ENTRY_SOURCE', 'EXIT_SOURCE', 'END_REASON'],
  ['BROWSER', 'OPERATING_SYSTEM', 'DEVICE'],
  ['VERSION', 'COUNTRY', 'REGION', 'CITY'],
] as const satisfies readonly (readonly SessionDimension[])[];

/** What helps if counting takes too long. */
export const COUNT_LESS = 'A shorter time range takes less time.';

/** A value in words. */
function wordsOf(by: SessionDimension, value: string): string {
  if (by === 'COUNTRY') return formatCountry(value);
  if (by === 'END_REASON') return END_REASONS[value as keyof typeof END_REASONS] ?? value;
  return value;
}

function Group({
  by,
  group,
  most,
  total,
}: {
  by: SessionDimension;
  group: BreakdownPartFragment['groups'][number];
  most: number;
  total: number;
}): ReactNode {
  const params = useParams();
  const path = usePathname();
  const { param } = DIMENSIONS[by];
  const { value, count } = group;
  const isChosen = value != null && params.getAll(param).includes(value);
  const text = (
    <>
      <span className="breakdown-bar" style={{ width: `${(count / most) * 100}%` }} aria-hidden="true" />
      <span className="clip">{value == null ? 'Unknown' : wordsOf(by, value)}</span>
      <span className="number">{formatNumber(count)}</span>
      <span className="number muted">{formatShare(count / Math.max(1, total))}</span>
    </>
  );
  if (value == null) return <span className="breakdown-group">{text}</span>;
  const changes = isChosen ? without(params, param, value) : { [param]: [...params.getAll(param), value] };
  return (
    <Link
      className="breakdown-group"
      href={path + withParams(params, changes)}
      aria-current={isChosen ? 'true' : undefined}
      title={isChosen ? 'Remove this condition' : 'Show only these sessions'}
    >
      {text}
    </Link>
  );
}

/** Which sessions are counted. */
interface Counted {
  readonly filter: SessionFilter;
  /** What is asked, in words of the page. */
  readonly question: string;
  /** When it grows, they are counted again. */
  readonly turn: number;
}

/** The groups of one dimension. */
function Groups({ by, filter, question, turn }: { by: SessionDimension } & Counted): ReactNode {
  const { data, error, isOld, again, retry } = useAnswer(SessionGroupsDocument, { by, filter }, question, fetchLater);
  useTurn(turn, again);
  if (error && !data) return <Problem error={error} retry={retry} byItself={false} less={COUNT_LESS} />;
  if (!data) return <Loading lines={4} label="Counting sessions" />;
  const { groups, totalCount } = data.sessionBreakdown;
  const most = Math.max(1, ...groups.map(({ count }) => count));
  const rest = groups.reduce((left, { count }) => left - count, totalCount);
  if (groups.length === 0) return <Empty title="No sessions" />;
  return (
    <Dimmed isOld={isOld}>
      <ul>
        {groups.map((group) => (
          <li key={group.value ?? ''}>
            <Group by={by} group={group} most={most} total={totalCount} />
          </li>
        ))}
        {rest > 0 && (
          <li className="breakdown-group muted">
            <span>Others</span>
            <span className="number">{formatNumber(rest)}</span>
            <span className="number">{formatShare(rest / totalCount)}</span>
          </li>
        )}
      </ul>
    </Dimmed>
  );
}

/** A card that shows one of its dimensions at a time. */
function Box({ dimensions, ...counted }: { dimensions: readonly SessionDimension[] } & Counted): ReactNode {
  const [shown, setShown] = useState(dimensions[0]!);
  return (
    <section className="card breakdown" aria-label={DIMENSIONS[shown].name}>
      <div className="segments" role="group" aria-label="Count sessions by">
        {dimensions.map((by) => (
          <button key={by} type="button" aria-pressed={by === shown} onClick={() => setShown(by)}>
            {DIMENSIONS[by].name}
          </button>
        ))}
      </div>
      <Groups key={shown} by={shown} {...counted} />
    </section>
  );
}

/**
 * The sessions of `filter` counted by what they have in common. A click on a value makes it a condition of the page, or
 * removes it.
 */
export const Breakdowns = (counted: Counted): ReactNode => (
  <div className="breakdowns">
    {BOXES.map((dimensions) => (
      <Box key={dimensions[0]} dimensions={dimensions} {...counted} />
    ))}
  </div>
);
