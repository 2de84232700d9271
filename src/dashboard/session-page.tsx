import { useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { useApi } from './api';
import { formatCountry, formatDuration, formatNumber } from './format';
import {
  MoreStepsDocument,
  SessionDocument,
  SessionMovesDocument,
  StepsDocument,
  type SessionHeadFragment,
  type SessionQuery,
  type StepFragment,
} from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { Avatar, Card, Empty, Loading, Moment, PageHead, Problem, UserLink } from './parts';
import { sessionPath, userPath } from './paths';
import { Duration, Ending } from './session-table';
import { Steps } from './steps';

type Found = NonNullable<SessionQuery['session']>;

const byTime = (a: StepFragment, b: StepFragment): number => a.occurredAt.localeCompare(b.occurredAt);

const placeOf = ({ location }: SessionHeadFragment): string | null =>
  location ? [location.city, location.region, formatCountry(location.country)].filter(Boolean).join(', ') : null;

const softwareOf = (software: { name: string; version?: string | null } | null | undefined): string | null =>
  software ? [software.name, software.version].filter(Boolean).join(' ') : null;

/** What stayed the same while the session went on. */
function Facts({ session }: { session: SessionHeadFragment }): ReactNode {
  const facts: [string, string | null | undefined][] = [
    ['Browser', softwareOf(session.browser)],
    ['System', softwareOf(session.os)],
    ['Device', session.device],
    ['Version', session.version],
    ['Location', placeOf(session)],
    ['Address', session.ipAddress],
    ['Key', session.key],
    ['Bot', session.isBot ? 'Yes' : null],
  ];
  return (
    <dl className="facts">
      {facts
        .filter(([, value]) => Boolean(value))
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

function Others({ session }: { session: Found }): ReactNode {
  const others = session.user?.sessions.nodes.filter(({ id }) => id !== session.id) ?? [];
  if (!session.user) return null;
  return (
    <Card title="Other sessions" tools={<Link href={userPath(session.user.identity)}>See all</Link>}>
      {others.length === 0 ? (
        <p className="card-text muted">This is the only one.</p>
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

/** Moves to the next error below what is in sight, and round again from the last. */
function showNextError(): void {
  const errors = [...document.querySelectorAll<HTMLElement>('.step.error')];
  const next = errors.find((one) => one.getBoundingClientRect().top > window.innerHeight / 2 + 4) ?? errors[0];
  next?.scrollIntoView({ block: 'center' });
  next?.querySelector('button')?.focus({ preventScroll: true });
}

function SessionView({ found }: { found: Found }): ReactNode {
  const { client } = useApi();
  const [head, setHead] = useState<SessionHeadFragment>(found);
  const [more, setMore] = useState<{ nodes: readonly StepFragment[]; pageInfo: Found['events']['pageInfo'] }>(
    found.events,
  );
  const [live, setLive] = useState<readonly StepFragment[]>([]);
  const [busy, setBusy] = useState(false);
  const isWhole = !more.pageInfo.hasNextPage;
  const have = new Set(more.nodes.map(({ id }) => id));
  // What arrives belongs behind what is not yet loaded: it is shown when there is no gap between the two.
  const steps = isWhole ? [...more.nodes, ...live.filter(({ id }) => !have.has(id))].toSorted(byTime) : more.nodes;

  async function load(): Promise<void> {
    const after = more.pageInfo.endCursor;
    if (!after || busy) return;
    setBusy(true);
    const { data } = await client
      .query(MoreStepsDocument, { id: found.id, after }, { requestPolicy: 'network-only' })
      .toPromise();
    setBusy(false);
    const next = data?.session?.events;
    if (next) setMore((known) => ({ nodes: [...known.nodes, ...next.nodes], pageInfo: next.pageInfo }));
  }

  /** What was missed: at first no more than the steps between the answer and the stream. */
  async function catchUp(again: boolean): Promise<void> {
    if (isWhole) await load();
    if (!again) return;
    const { data } = await client
      .query(SessionDocument, { id: found.id }, { requestPolicy: 'network-only' })
      .toPromise();
    if (data?.session) setHead(data.session);
  }

  useLive(
    SessionMovesDocument,
    { id: found.id },
    { data: ({ sessionChanged }) => setHead(sessionChanged.session), open: (again) => void catchUp(again) },
  );
  useLive(
    StepsDocument,
    { id: found.id },
    {
      data: ({ eventIngested }) =>
        setLive((known) => [...known.filter(({ id }) => id !== eventIngested.id), eventIngested]),
    },
  );

  const { user } = head;
  return (
    <>
      <nav className="crumbs" aria-label="Where this is">
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
        {head.errorCount > 0 && (
          <button type="button" className="button" onClick={showNextError}>
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
          <dt>{head.status === 'ACTIVE' ? 'State' : 'Ended'}</dt>
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
          {steps.length === 0 ? (
            <Empty title="No event is stored">The session is known by its heartbeats alone.</Empty>
          ) : (
            <Steps steps={steps} start={head.startedAt} />
          )}
          {!isWhole && (
            <button type="button" className="button more" disabled={busy} onClick={() => void load()}>
              {busy ? 'Loading…' : `Show more of ${formatNumber(head.eventCount)} events`}
            </button>
          )}
          {isWhole && head.status === 'ACTIVE' && (
            <p className="waiting muted">
              <span className="spinner" aria-hidden="true" /> Waiting for the next step
            </p>
          )}
          {isWhole && head.endedAt && steps.length > 0 && (
            <p className="waiting muted">Ended after {formatDuration(head.duration)}</p>
          )}
        </Card>
        <aside className="stack">
          <Card title="What stayed the same">
            <Facts session={head} />
          </Card>
          <Others session={found} />
        </aside>
      </div>
    </>
  );
}

/** One session: what the user did, step by step. */
export function SessionPage({ id }: { id: string }): ReactNode {
  const [{ data, error }, ask] = useQuery({ query: SessionDocument, variables: { id }, requestPolicy: 'network-only' });
  if (error) return <Problem error={error} retry={() => ask({ requestPolicy: 'network-only' })} />;
  if (!data) return <Loading lines={10} label="Loading the session" />;
  if (!data.session) {
    return (
      <Empty title="There is no such session">
        It may have been erased. <Link href="/sessions">To the sessions</Link>
      </Empty>
    );
  }
  return <SessionView found={data.session} />;
}
