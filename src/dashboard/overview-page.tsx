import { useEffect, useId, useState, type FormEvent, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { Link, useLocation } from 'wouter';
import { Chart } from './chart';
import { FirstEvent } from './first-event';
import { formatChange, formatDuration, formatNumber, formatShare } from './format';
import {
  AnythingThereDocument,
  OverviewDocument,
  SessionsMoveDocument,
  WentWrongDocument,
  type TotalsFragment,
} from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { Avatar, Card, Empty, Loading, Moment, PageHead, Problem, UserLink } from './parts';
import { sessionPath } from './paths';
import { useOnline } from './presence';
import { textOf } from './form';
import { localInput, rangeAddress, RANGES, useRange, type Range } from './range';
import { useThrottled } from './throttle';

/** The figures follow what happens, but not more often than a reader can take in. Milliseconds. */
const REFRESH = 3_000;

/** What a figure was before, beside what it is. */
function Change({ now, before, worse }: { now: number | null; before: number | null; worse: boolean }): ReactNode {
  if (now === null || before === null || before === 0) return <span className="change">No figure before</span>;
  const ratio = now / before - 1;
  if (Math.abs(ratio) < 0.005) return <span className="change">As before</span>;
  return (
    <span className={`change ${ratio > 0 === worse ? 'bad' : 'good'}`}>
      <b>
        <Icon name={ratio > 0 ? 'up' : 'down'} size={14} />
        {formatChange(ratio)}
      </b>{' '}
      against before
    </span>
  );
}

function Figure({
  name,
  value,
  extra,
  children,
}: {
  name: string;
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

function Figures({ now, before }: { now: TotalsFragment; before: TotalsFragment }): ReactNode {
  return (
    <dl className="figures">
      <Figure name="Sessions" value={formatNumber(now.sessions)}>
        <Change now={now.sessions} before={before.sessions} worse={false} />
      </Figure>
      <Figure name="Users" value={formatNumber(now.users)}>
        <Change now={now.users} before={before.users} worse={false} />
      </Figure>
      <Figure name="Average duration" value={orNone(now.averageDuration)}>
        <Change now={now.averageDuration ?? null} before={before.averageDuration ?? null} worse={false} />
      </Figure>
      <Figure name="Median duration" value={orNone(now.medianDuration)}>
        <Change now={now.medianDuration ?? null} before={before.medianDuration ?? null} worse={false} />
      </Figure>
      <Figure
        name="With errors"
        value={formatNumber(now.sessionsWithErrors)}
        extra={now.sessions > 0 ? formatShare(now.sessionsWithErrors / now.sessions) : null}
      >
        <Change now={now.sessionsWithErrors} before={before.sessionsWithErrors} worse />
      </Figure>
    </dl>
  );
}

function RangePicker({ range }: { range: Range }): ReactNode {
  const [isOpen, setOpen] = useState(false);
  const [, navigate] = useLocation();
  const id = useId();

  function choose(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [from, to] = [Date.parse(textOf(form, 'from')), Date.parse(textOf(form, 'to'))];
    if (!(from < to)) return;
    setOpen(false);
    navigate(rangeAddress(from, to));
  }

  return (
    <div className="range">
      <div className="segments" role="group" aria-label="Range">
        {RANGES.map(({ key, name }) => (
          <Link key={key} href={`/?range=${key}`} aria-current={range.key === key ? 'true' : undefined}>
            {name}
          </Link>
        ))}
        <button
          type="button"
          aria-expanded={isOpen}
          aria-controls={id}
          className={range.key === null ? 'chosen' : ''}
          onClick={() => setOpen(!isOpen)}
        >
          Custom
        </button>
      </div>
      {isOpen && (
        <form
          id={id}
          className="popover"
          onSubmit={choose}
          onKeyDown={(event) => event.key === 'Escape' && setOpen(false)}
        >
          <label>
            From
            <input type="datetime-local" name="from" required defaultValue={localInput(range.from)} autoFocus />
          </label>
          <label>
            To
            <input type="datetime-local" name="to" required defaultValue={localInput(range.to)} />
          </label>
          <button type="submit" className="button primary">
            Show
          </button>
        </form>
      )}
    </div>
  );
}

const SHOWN_ONLINE = 6;

function OnlineNow(): ReactNode {
  const presence = useOnline();
  return (
    <Card title="Online now" tools={<Link href="/online">See all</Link>}>
      {!presence && <Loading lines={4} />}
      {presence?.online.length === 0 && (
        <Empty title="Nobody is online">Users appear here the moment they arrive.</Empty>
      )}
      {presence && presence.online.length > 0 && (
        <>
          <p className="online-count">
            <span className="dot online" aria-hidden="true" />
            <b data-testid="online-count">{formatNumber(presence.online.length)}</b>{' '}
            {presence.online.length === 1 ? 'user' : 'users'}
          </p>
          <ul className="rows">
            {presence.online.slice(0, SHOWN_ONLINE).map((user) => (
              <li key={user.identity}>
                <Avatar identity={user.identity} name={user.name} online />
                <UserLink user={user} />
                <span className="muted row-end">{user.since && <Moment at={user.since} ago />}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}

/** `turn` grows with what happens: the list is then asked for anew. */
function WentWrong({ range, turn }: { range: Range; turn: number }): ReactNode {
  const startedAt = {
    from: new Date(range.from).toISOString(),
    to: range.key ? null : new Date(range.to).toISOString(),
  };
  const [{ data, error }, ask] = useQuery({
    query: WentWrongDocument,
    variables: { filter: { hasErrors: true, startedAt } },
  });
  useEffect(() => {
    if (turn > 0) ask({ requestPolicy: 'network-only' });
  }, [turn, ask]);
  const address = new URLSearchParams({ errors: 'yes', from: startedAt.from });
  if (startedAt.to) address.set('to', startedAt.to);
  return (
    <Card title="Went wrong" tools={<Link href={`/sessions?${address}`}>See all</Link>}>
      {error && <Problem error={error} />}
      {!data && !error && <Loading lines={4} />}
      {data?.sessions.nodes.length === 0 && <Empty title="No session with errors">Nothing broke in this range.</Empty>}
      {data && data.sessions.nodes.length > 0 && (
        <ul className="rows">
          {data.sessions.nodes.map(({ id, user, startedAt: started, events, errorCount }) => (
            <li key={id} className="wrong">
              <Link href={sessionPath(id)} className="wrong-link">
                <b>{events.nodes[0]?.message ?? events.nodes[0]?.source ?? 'Error'}</b>
                <span className="muted">
                  {user?.name ?? user?.identity ?? 'No user'}
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

/** Sessions and users at a glance, and as they move. */
export function OverviewPage(): ReactNode {
  const range = useRange();
  const [, navigate] = useLocation();
  const [turn, setTurn] = useState(0);
  const iso = (at: number): string => new Date(at).toISOString();
  const [{ data, error, stale }, ask] = useQuery({
    query: OverviewDocument,
    variables: {
      now: { startedAt: { from: iso(range.from), to: iso(range.to) } },
      before: { startedAt: { from: iso(2 * range.from - range.to), to: iso(range.from) } },
      interval: range.interval,
    },
  });
  const [{ data: anything }, askAgain] = useQuery({ query: AnythingThereDocument });
  const isBare = anything?.events.nodes.length === 0;

  const refresh = useThrottled(() => {
    ask({ requestPolicy: 'network-only' });
    setTurn((known) => known + 1);
  }, REFRESH);
  useLive(SessionsMoveDocument, {}, { data: refresh, open: (again) => again && refresh() });

  return (
    <>
      <PageHead title="Overview">
        <RangePicker range={range} />
      </PageHead>
      {isBare && <FirstEvent onArrived={() => askAgain({ requestPolicy: 'network-only' })} />}
      {error && !data && <Problem error={error} retry={() => ask({ requestPolicy: 'network-only' })} />}
      {!data && !error && <Loading lines={6} label="Loading the figures" />}
      {data && (
        <div className={stale ? 'is-stale' : ''}>
          <Figures now={data.now.totals} before={data.before.totals} />
          <Card
            title="Sessions and users"
            tools={
              range.key === null && (
                <>
                  <span className="muted">
                    <Moment at={iso(range.from)} /> to <Moment at={iso(range.to)} />
                  </span>
                  <Link href="/">Back to 24 hours</Link>
                </>
              )
            }
          >
            <Chart
              points={data.now.series}
              interval={range.interval}
              onZoom={(from, to) => navigate(rangeAddress(from, to))}
            />
          </Card>
        </div>
      )}
      {!error && (
        <div className="columns">
          <OnlineNow />
          <WentWrong range={range} turn={turn} />
        </div>
      )}
    </>
  );
}
