import { useEffect, useEffectEvent, useId, useRef, useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { changeAddress, useParams } from './address';
import { useAsked } from './answer';
import { useApi } from './api';
import { useNow } from './clock';
import { SearchBox } from './filter-fields';
import { formatCountry, formatDuration, formatMoment, formatNumber } from './format';
import {
  EventTimeDocument,
  EventValuesDocument,
  SessionDocument,
  SessionMovesDocument,
  type SessionHeadFragment,
  type SessionQuery,
} from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { NotFound } from './not-found';
import { Avatar, Card, Empty, Facts, Loading, Moment, PageHead, Problem, UserLink } from './parts';
import { sessionPath, userPath } from './paths';
import { Duration, Ending } from './session-table';
import { useStepList, type StepList } from './step-list';
import { Steps } from './steps';
import { useTitle } from './title';
import { fetchLater } from './turns';

type Found = NonNullable<SessionQuery['session']>;

/** Counting is not urgent. */
const TYPES = { fetch: fetchLater };

const placeOf = ({ location }: SessionHeadFragment): string | null =>
  location ? [location.city, location.region, formatCountry(location.country)].filter(Boolean).join(', ') : null;

const softwareOf = (software: { name: string; version?: string | null } | null | undefined): string | null =>
  software ? [software.name, software.version].filter(Boolean).join(' ') : null;

/** The attributes of a session: browser, operating system, device, location and so on. */
function SessionFacts({ session }: { session: SessionHeadFragment }): ReactNode {
  const facts: [string, string | null | undefined][] = [
    ['Browser', softwareOf(session.browser)],
    ['OS', softwareOf(session.os)],
    ['Device', session.device],
    ['Version', session.version],
    ['Location', placeOf(session)],
    ['IP address', session.ipAddress],
    ['Entry page', session.entrySource],
    ['Exit page', session.exitSource],
    ['Device ID', session.deviceId],
    ['Session key', session.key],
    ['Bot', session.isBot ? 'Yes' : null],
  ];
  return <Facts facts={facts} />;
}

function Others({ session }: { session: Found }): ReactNode {
  const others = session.user?.sessions.nodes.filter(({ id }) => id !== session.id) ?? [];
  if (!session.user) return null;
  return (
    <Card title="Other sessions" tools={<Link href={userPath(session.user.identity)}>See all</Link>}>
      {others.length === 0 ? (
        <p className="card-text muted">No other sessions.</p>
      ) : (
        <ul className="rows">
          {others.slice(0, 5).map((other) => (
            <li key={other.id}>
              <Link href={sessionPath(other.id)}>
                <Moment at={other.startedAt} />
              </Link>
              {other.errorCount > 0 && (
                <span className="badge error">
                  {formatNumber(other.errorCount)} error{other.errorCount === 1 ? '' : 's'}
                </span>
              )}
              <span className="muted row-end number">
                <Duration session={other} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

/**
 * The search in the session, and the choice of a type. `types`: the types of the events that are loaded; the server adds those
 * of the others.
 */
function StepTools({ sessionId, types }: { sessionId: string; types: readonly string[] }): ReactNode {
  const chosen = useParams().get('type') ?? '';
  const id = useId();
  const [{ data }] = useQuery({
    query: EventValuesDocument,
    variables: { by: 'TYPE', filter: { sessionIds: [sessionId] } },
    requestPolicy: 'cache-first',
    context: TYPES,
  });
  const all = data?.eventBreakdown.groups.flatMap(({ value }) => value ?? []) ?? [];
  const offered = [...new Set([...types, ...all, ...(chosen ? [chosen] : [])])].toSorted();
  return (
    <div className="step-tools">
      <SearchBox name="Search in this session" hint="Search in this session…" />
      <label htmlFor={id} className="hidden">
        Type of the events
      </label>
      <select id={id} value={chosen} onChange={(event) => changeAddress({ type: event.target.value })}>
        <option value="">All types</option>
        {offered.map((type) => (
          <option key={type} value={type}>
            {type}
          </option>
        ))}
      </select>
    </div>
  );
}

/**
 * An element at the end of the list that asks for more, once, when it comes near the window. A list that is loading refuses
 * that, so the element needs another key then.
 */
function NearEnd({ onNear }: { onNear: () => void }): ReactNode {
  const mark = useRef<HTMLParagraphElement>(null);
  const near = useEffectEvent(onNear);
  useEffect(() => {
    const observer = new IntersectionObserver(([seen]) => seen?.isIntersecting && near(), {
      rootMargin: '1200px 0px',
    });
    observer.observe(mark.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <p ref={mark} className="waiting muted">
      <span className="spinner" aria-hidden="true" /> Loading more events
    </p>
  );
}

/** The events of the session, with what to do at both ends of what is loaded. */
function Footsteps({
  head,
  list,
  target,
}: {
  head: SessionHeadFragment;
  list: StepList;
  target: Target | null;
}): ReactNode {
  const { steps, hasMore, hasEarlier, isFull, loading, error } = list;
  const params = useParams();
  const isNarrow = params.has('q') || params.has('type');
  if (error && steps.length === 0) return <Problem error={error} retry={list.retry} />;
  if (loading && steps.length === 0) return <Loading lines={8} label="Loading events" />;
  if (steps.length === 0 && !hasMore) {
    return isNarrow ? (
      <Empty title="No events of this session match" />
    ) : (
      <Empty title="No events">This session has only sent heartbeats.</Empty>
    );
  }
  return (
    <>
      {hasEarlier && (
        <button type="button" className="button more" disabled={loading} onClick={list.earlier}>
          Show earlier events
        </button>
      )}
      <Steps steps={steps} start={head.startedAt} target={target} />
      {error && <Problem error={error} retry={list.retry} />}
      {hasMore && isFull && (
        <button type="button" className="button more" onClick={list.goOn}>
          Go on after these {formatNumber(steps.length)} events
        </button>
      )}
      {hasMore && !isFull && !error && <NearEnd key={`${steps.length} ${loading}`} onNear={list.more} />}
      {!hasMore && head.status === 'ACTIVE' && (
        <p className="waiting muted">
          <span className="spinner" aria-hidden="true" /> Waiting for new events
        </p>
      )}
      {!hasMore && head.endedAt && <p className="waiting muted">Ended after {formatDuration(head.duration)}</p>}
    </>
  );
}

/** An event to scroll to. A new object with the same id scrolls again. */
interface Target {
  readonly id: string;
}

/** `linked`: the event that the address names, and when it happened. */
function SessionView({
  found,
  linked,
}: {
  found: Found;
  linked: { id: string; occurredAt: string } | null;
}): ReactNode {
  const { client } = useApi();
  const params = useParams();
  const [head, setHead] = useState<SessionHeadFragment>(found);
  const [target, setTarget] = useState<Target | null>(linked);
  const filter = { search: params.get('q'), type: params.get('type') };
  const isWhole = filter.search === null && filter.type === null;
  // With a filter the list begins at the start: the linked event need not match.
  const list = useStepList(found.id, filter, isWhole ? (linked?.occurredAt ?? null) : null);

  async function showNextError(): Promise<void> {
    const id = await list.findError(target?.id ?? null);
    if (id !== null) setTarget({ id });
  }

  useLive(
    SessionMovesDocument,
    { id: found.id },
    {
      data: ({ sessionChanged }) => setHead(sessionChanged.session),
      open(again) {
        if (again) void readHead();
      },
    },
  );
  async function readHead(): Promise<void> {
    const { data } = await client
      .query(SessionDocument, { id: found.id }, { requestPolicy: 'network-only' })
      .toPromise();
    if (data?.session) setHead(data.session);
  }

  const { user } = head;
  const now = useNow(60_000);
  useTitle(`${user?.name ?? user?.identity ?? 'No user'}, session of ${formatMoment(new Date(head.startedAt), now)}`);
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link href="/sessions">Sessions</Link>
        <Icon name="right" size={14} />
        {user && (
          <>
            <Link href={userPath(user.identity)}>{user.name ?? user.identity}</Link>
            <Icon name="right" size={14} />
          </>
        )}
        <span aria-current="page">Session</span>
      </nav>
      <PageHead
        title={
          <span className="with-avatar">
            {user && <Avatar identity={user.identity} name={user.name} online={head.status === 'ACTIVE'} />}
            <span className="two-lines">
              <UserLink user={user} />
              {user?.name && <span className="muted clip subtitle">{user.identity}</span>}
            </span>
          </span>
        }
      >
        {head.errorCount > 0 && (filter.type === null || filter.type === 'error') && (
          <button type="button" className="button" onClick={() => void showNextError()}>
            <Icon name="alert" size={16} /> Next error
          </button>
        )}
      </PageHead>
      <dl className="figures slim">
        <div className="figure">
          <dt>Started</dt>
          <dd className="figure-value">
            <Moment at={head.startedAt} />
          </dd>
        </div>
        <div className="figure">
          <dt>Duration</dt>
          <dd className="figure-value">
            <Duration session={head} />
          </dd>
        </div>
        <div className="figure">
          <dt>Events</dt>
          <dd className="figure-value">{formatNumber(head.eventCount)}</dd>
        </div>
        <div className="figure">
          <dt>Errors</dt>
          <dd className={head.errorCount > 0 ? 'figure-value is-bad' : 'figure-value'}>
            {formatNumber(head.errorCount)}
          </dd>
        </div>
        <div className="figure">
          <dt>{head.status === 'ACTIVE' ? 'Status' : 'Ended'}</dt>
          <dd className="figure-value small">
            <Ending session={head} />
            {head.endedAt && <Moment at={head.endedAt} />}
          </dd>
        </div>
      </dl>
      <div className="columns session-columns">
        <Card
          title="Footsteps"
          tools={head.status === 'ACTIVE' && <span className="live">Live</span>}
          className="footsteps"
        >
          <StepTools sessionId={found.id} types={list.steps.map(({ type }) => type)} />
          <Footsteps head={head} list={list} target={target} />
        </Card>
        <aside className="stack">
          <Card title="Session context">
            <SessionFacts session={head} />
          </Card>
          <Others session={found} />
        </aside>
      </div>
    </>
  );
}

/** The page of one session: what the user did, event by event. The address may name an event (`?event=…`). */
export function SessionPage({ id }: { id: string }): ReactNode {
  const [event] = useState(() => new URLSearchParams(window.location.search).get('event'));
  const { data, error, retry } = useAsked({ query: SessionDocument, variables: { id }, requestPolicy: 'network-only' });
  const [{ data: at, fetching }] = useQuery({
    query: EventTimeDocument,
    variables: { id: event ?? '' },
    pause: event === null,
  });
  if (error && !data) return <Problem error={error} retry={retry} />;
  if (!data || (event !== null && fetching)) return <Loading lines={10} label="Loading session" />;
  if (!data.session) {
    return <NotFound title="Session not found" path="/sessions" list="sessions" />;
  }
  // A session that was merged answers as the one that it became.
  return <SessionView key={data.session.id} found={data.session} linked={at?.event ?? null} />;
}
