import { useEffect, useEffectEvent, useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { navigate } from 'wouter/use-browser-location';
import { changeAddress, useParams } from './address';
import { useAnswer, useTurn } from './answer';
import { isUnreachable } from './api';
import { Breakdowns, COUNT_LESS } from './breakdowns';
import { Chart } from './chart';
import { singleConditions, withParams } from './conditions';
import { ActiveChips } from './filter-fields';
import { FilterPanel } from './filter-panel';
import { FirstEvent } from './first-event';
import { formatChange, formatDuration, formatNumber, formatShare } from './format';
import {
  AnythingThereDocument,
  BeforeDocument,
  LatestOnlineDocument,
  OnlineCountDocument,
  OverviewDocument,
  PeakOnlineDocument,
  SessionsMoveDocument,
  WentWrongDocument,
  type LatestOnlineQuery,
  type SessionFilter,
  type TotalsFragment,
} from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { Avatar, Card, Dimmed, Empty, Loading, Moment, PageHead, Problem, UserLines } from './parts';
import { sessionPath, stepPath } from './paths';
import { rangeParams, useRange, type Range } from './range';
import { RangePicker } from './range-picker';
import { readFilter, sessionConditions } from './session-filter';
import { useThrottled } from './throttle';
import { fetchFirst } from './turns';
import { zoneNow } from './zone';
import { ZoneSelect } from './zone-select';

/**
 * The figures are read again at most once in this time, however often sessions change, and less often if they take long.
 * Milliseconds.
 */
const REFRESH = 3_000;
/** The same for the breakdowns, which cost more. Milliseconds. */
const SLOW_REFRESH = 15_000;

/** What the figures are compared with: the parameter `compare` of the address, and how far back it is. */
const COMPARISONS = {
  '': { name: 'the period before', short: 'previous', rest: ' period' },
  week: { name: 'the same a week before', short: 'a week before', rest: '' },
} as const;

type Comparison = keyof typeof COMPARISONS;

const WEEK = 7 * 86_400_000;

/** The figures of the earlier time; or that they are being counted, or could not be. */
type Before = TotalsFragment | 'ASKED' | 'FAILED';

/** The change against the earlier figure. `worse` means that a higher figure is worse. */
function Change({
  name,
  totals,
  earlier,
  worse = false,
  comparison,
}: {
  name: Exclude<keyof TotalsFragment, '__typename'>;
  totals: TotalsFragment;
  earlier: Before;
  worse?: boolean;
  comparison: Comparison;
}): ReactNode {
  const { short, rest } = COMPARISONS[comparison];
  if (earlier === 'ASKED') return <span className="change">Comparing…</span>;
  if (earlier === 'FAILED') return <span className="change">Not compared</span>;
  const [now, before] = [totals[name], earlier[name]];
  if (now === 0 && before === 0 && earlier.sessions > 0) return <span className="change">No change</span>;
  // There is no ratio to nothing.
  if (now != null && before === 0 && earlier.sessions > 0)
    return <span className={worse ? 'change bad' : 'change good'}>Up from 0</span>;
  if (now == null || !before) return <span className="change">No previous data</span>;
  const ratio = now / before - 1;
  if (Math.abs(ratio) < 0.005) return <span className="change">No change</span>;
  return (
    <span className={`change ${ratio > 0 === worse ? 'bad' : 'good'}`}>
      <b>
        <Icon name={ratio > 0 ? 'up' : 'down'} size={14} />
        {formatChange(ratio)}
      </b>{' '}
      vs. {short}
      <span className="change-word">{rest}</span>
    </span>
  );
}

function Figure({
  name,
  value,
  extra,
  children,
}: {
  name: ReactNode;
  value: string;
  extra?: string | null;
  children: ReactNode;
}): ReactNode {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd>
        <span className="figure-value">
          {value}
          {extra && <small>{extra}</small>}
        </span>
        {children}
      </dd>
    </div>
  );
}

const orNone = (seconds: number | null | undefined): string => (seconds == null ? '–' : formatDuration(seconds));

function Figures({
  now,
  before,
  comparison,
}: {
  now: TotalsFragment;
  before: Before;
  comparison: Comparison;
}): ReactNode {
  const params = useParams();
  const isErrors = params.get('errors') === 'yes';
  const compared = { totals: now, earlier: before, comparison };
  return (
    <dl className="figures">
      <Figure name="Sessions" value={formatNumber(now.sessions)}>
        <Change name="sessions" {...compared} />
      </Figure>
      <Figure name="Users" value={formatNumber(now.users)}>
        <Change name="users" {...compared} />
      </Figure>
      <Figure name="Average duration" value={orNone(now.averageDuration)}>
        <Change name="averageDuration" {...compared} />
      </Figure>
      <Figure name="Median duration" value={orNone(now.medianDuration)}>
        <Change name="medianDuration" {...compared} />
      </Figure>
      <Figure
        name={
          <Link
            href={`/${withParams(params, { errors: isErrors ? null : 'yes' })}`}
            aria-current={isErrors || undefined}
          >
            With errors
          </Link>
        }
        value={formatNumber(now.sessionsWithErrors)}
        extra={now.sessions > 0 ? formatShare(now.sessionsWithErrors / now.sessions) : null}
      >
        <Change name="sessionsWithErrors" worse {...compared} />
      </Figure>
    </dl>
  );
}

const SHOWN_ONLINE = 6;

/** Since when a user is online, ISO 8601; '' if that is not known. */
const sinceOf = ({ presence }: LatestOnlineQuery['users']['nodes'][number]): string => presence.since ?? '';

/** What is asked for a range and a filter. A range up to now stays the same question while it moves on. */
const questionOf = ({ key, from, to }: Range, filter: SessionFilter): string =>
  JSON.stringify([key ?? [from, to], filter]);

/** The parameters of the address that are conditions: without those of the range. */
function conditionsIn(params: URLSearchParams): URLSearchParams {
  const rest = new URLSearchParams(params);
  for (const name of ['range', 'from', 'to', 'compare']) rest.delete(name);
  return rest;
}

/** The most users that were online at once in the range. It is read again when the range moves on. */
function Peak({ range, online }: { range: Range; online: number }): ReactNode {
  const { key, from, to } = range;
  const variables = { range: { from: new Date(from).toISOString(), to: new Date(to).toISOString() } };
  const { data, isOld } = useAnswer(PeakOnlineDocument, variables, questionOf(range, {}));
  if (!data?.concurrency.peakAt || isOld) return null;
  const { peak, peakAt } = data.concurrency;
  // More may have come since it was read.
  if (key !== null && online > peak) return <p className="peak muted">Peak {formatNumber(online)}, now</p>;
  return (
    <p className="peak muted">
      Peak <b data-testid="peak">{formatNumber(peak)}</b>, <Moment at={peakAt} />
    </p>
  );
}

/**
 * How many users are online, and a few of them: those who were seen last. `isFiltered`: the page has a filter, which this card
 * does not follow. When `turn` grows, they are read again.
 */
function OnlineNow({ range, isFiltered, turn }: { range: Range; isFiltered: boolean; turn: number }): ReactNode {
  const [online, setOnline] = useState<number | null>(null);
  const { data, error, again, retry, rest } = useAnswer(LatestOnlineDocument, { first: SHOWN_ONLINE }, 'online');
  const latest = data?.users.nodes.toSorted((a, b) => sinceOf(b).localeCompare(sinceOf(a)));
  useTurn(turn, again);
  const look = useThrottled(again, REFRESH, rest);
  useLive(
    OnlineCountDocument,
    {},
    {
      data({ onlineCount }) {
        setOnline(onlineCount);
        if (online !== null) look();
      },
    },
  );
  // The first number comes with the list, in any order: it is asked for once more only if the two differ.
  const isOther = online !== null && latest !== undefined && latest.length !== Math.min(SHOWN_ONLINE, online);
  const compare = useEffectEvent(look);
  useEffect(() => {
    if (isOther) compare();
  }, [isOther]);
  return (
    <Card title="Online now" tools={<Link href="/online">See all</Link>}>
      {isFiltered && <p className="peak muted">All users: the filter does not count here.</p>}
      {online !== null && <Peak range={range} online={online} />}
      {online === null && <Loading lines={4} />}
      {online === 0 && <Empty title="No one is online">Users appear here as they arrive.</Empty>}
      {online !== null && online > 0 && (
        <>
          <p className="online-count">
            <span className="dot online" aria-hidden="true" />
            <b data-testid="online-count">{formatNumber(online)}</b> {online === 1 ? 'user' : 'users'}
          </p>
          {error && !latest && <Problem error={error} retry={retry} byItself={false} />}
          {!latest && !error && <Loading lines={4} />}
          <ul className="rows">
            {latest?.map((user) => (
              <li key={user.identity}>
                <Avatar identity={user.identity} name={user.name} online />
                <UserLines user={user} />
                <span className="muted row-end">{sinceOf(user) && <Moment at={sinceOf(user)} ago />}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}

/** The latest sessions with errors that match the filter. When `turn` grows, the list is read again. */
function WentWrong({ range, filter, turn }: { range: Range; filter: SessionFilter; turn: number }): ReactNode {
  const params = useParams();
  const startedAt = {
    from: new Date(range.from).toISOString(),
    to: range.key ? null : new Date(range.to).toISOString(),
  };
  const { data, error, isOld, again, retry } = useAnswer(
    WentWrongDocument,
    { filter: { ...filter, hasErrors: true, startedAt } },
    questionOf(range, filter),
  );
  useTurn(turn, again);
  const address = withParams(conditionsIn(params), { errors: 'yes', ...startedAt });
  return (
    <Card title="Recent errors" tools={<Link href={`/sessions${address}`}>See all</Link>}>
      {error && !data && <Problem error={error} retry={retry} byItself={false} />}
      {!data && !error && <Loading lines={4} />}
      {data?.sessions.nodes.length === 0 && (
        <Empty title="No sessions with errors">No errors in this time range.</Empty>
      )}
      {data && data.sessions.nodes.length > 0 && (
        <ul className={isOld ? 'rows is-old' : 'rows'} aria-busy={isOld}>
          {data.sessions.nodes.map(({ id, user, startedAt: started, events, errorCount }) => (
            <li key={id} className="wrong">
              <Link href={events.nodes[0] ? stepPath(id, events.nodes[0].id) : sessionPath(id)} className="wrong-link">
                <b>{events.nodes[0]?.message ?? events.nodes[0]?.source ?? 'Error'}</b>
                <span className="muted">
                  {user ? [user.name, user.identity].filter(Boolean).join(' · ') : 'No user'}
                  {errorCount > 1 && ` · ${errorCount} errors`}
                </span>
              </Link>
              <span className="muted row-end">
                <Moment at={started} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

/** The choice of what the figures are compared with. */
const CompareSelect = ({ comparison }: { comparison: Comparison }): ReactNode => (
  <label className="zone">
    <span className="muted">Compared with</span>
    <select value={comparison} onChange={(event) => changeAddress({ compare: event.target.value })}>
      {Object.entries(COMPARISONS).map(([key, { name }]) => (
        <option key={key} value={key}>
          {name}
        </option>
      ))}
    </select>
  </label>
);

/** Figures, chart, breakdowns, online users and recent errors of a time range, updated live. */
export function OverviewPage(): ReactNode {
  const range = useRange();
  const params = useParams();
  const [isOpen, setOpen] = useState(false);
  const [turn, setTurn] = useState(0);
  const [slowTurn, setSlowTurn] = useState(0);
  const timeZone = zoneNow();
  const conditions = conditionsIn(params);
  const filter = readFilter(conditions);
  const question = questionOf(range, filter);
  const comparison: Comparison = params.get('compare') === 'week' ? 'week' : '';
  const back = comparison === 'week' ? WEEK : range.to - range.from;
  const iso = (at: number): string => new Date(at).toISOString();
  const { data, error, isOld, again, retry, rest } = useAnswer(
    OverviewDocument,
    {
      now: { ...filter, startedAt: { from: iso(range.from), to: iso(range.to) } },
      interval: range.interval,
      timeZone,
    },
    question,
    fetchFirst,
  );
  const earlier = useAnswer(
    BeforeDocument,
    { filter: { ...filter, startedAt: { from: iso(range.from - back), to: iso(range.to - back) } } },
    `${question} ${comparison}`,
    fetchFirst,
  );
  const before = earlier.isOld ? undefined : earlier.data?.before.totals;
  const [{ data: anything }, askAgain] = useQuery({ query: AnythingThereDocument });
  const isBare = anything?.events.nodes.length === 0;

  const refresh = useThrottled(
    () => {
      again();
      setTurn((known) => known + 1);
    },
    REFRESH,
    rest,
  );
  const count = useThrottled(
    () => setSlowTurn((known) => known + 1),
    SLOW_REFRESH,
    () => rest() * 3,
  );
  useLive(
    SessionsMoveDocument,
    {},
    {
      data() {
        refresh();
        count();
      },
      open(missed) {
        if (!missed) return;
        refresh();
        count();
      },
    },
  );
  // The list of sessions has controls of their own for these two, and links to this page may have them.
  const shownConditions = [
    ...sessionConditions(conditions),
    ...singleConditions(conditions, {
      q: (value) => `Search: ${value}`,
      status: (value) => (value === 'ACTIVE' ? 'Active' : 'Ended'),
    }),
  ];
  // If the server cannot be reached, it is said once, and not in each card.
  const isThere = data !== undefined || error === undefined || !isUnreachable(error);

  return (
    <>
      <PageHead title="Overview">
        <button type="button" className="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="filter" size={16} /> Filters
          {shownConditions.length > 0 && <b className="tally">{shownConditions.length}</b>}
        </button>
        <RangePicker range={range} />
      </PageHead>
      {isOpen && <FilterPanel params={conditions} rows={[]} withStart={false} />}
      {shownConditions.length > 0 && (
        <ActiveChips
          conditions={shownConditions}
          onClear={() =>
            navigate(`/${withParams(params, Object.fromEntries([...conditions.keys()].map((name) => [name, null])))}`)
          }
        />
      )}
      {isBare && <FirstEvent onArrived={() => askAgain({ requestPolicy: 'network-only' })} />}
      {error && !data && <Problem error={error} retry={retry} byItself={false} less={COUNT_LESS} />}
      {!data && !error && <Loading lines={6} label="Counting sessions" />}
      {data && (
        <Dimmed isOld={isOld} className="figures-and-chart">
          <Figures
            now={data.now.totals}
            before={before ?? (earlier.error ? 'FAILED' : 'ASKED')}
            comparison={comparison}
          />
          <Card
            title="Sessions and users"
            tools={
              <>
                {range.key === null && (
                  <>
                    <span className="muted">
                      <Moment at={iso(range.from)} /> to <Moment at={iso(range.to)} />
                    </span>
                    <Link href={`/${withParams(params, { from: null, to: null })}`}>Back to 24 hours</Link>
                  </>
                )}
                <CompareSelect comparison={comparison} />
                <ZoneSelect />
              </>
            }
          >
            <Chart
              points={data.now.series}
              interval={range.interval}
              onZoom={(from, to) => navigate(`/${withParams(params, rangeParams(from, to))}`)}
            />
          </Card>
        </Dimmed>
      )}
      {isThere && (
        <Breakdowns
          filter={{ ...filter, startedAt: { from: iso(range.from), to: iso(range.to) } }}
          question={question}
          turn={slowTurn}
        />
      )}
      {isThere && (
        <div className="columns">
          <OnlineNow range={range} isFiltered={shownConditions.length > 0} turn={turn} />
          <WentWrong range={range} filter={filter} turn={turn} />
        </div>
      )}
    </>
  );
}
