import { useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { useAsked } from './answer';
import { count, formatNumber, formatSoftware } from './format';
import {
  RunsOnDocument,
  TimelineDocument,
  type BreakdownPartFragment,
  type SessionRowFragment,
  type TimelineQuery,
} from './generated/graphql';
import { EventData } from './event-facts';
import { Card, Empty, Facts, Loading, Moment, Problem } from './parts';
import { eventPath, stepPath } from './paths';

/** So many devices are shown. */
const MOST_DEVICES = 8;

/** What a session runs on, in words. */
const nameOf = (session: SessionRowFragment): string =>
  [formatSoftware(session.browser), formatSoftware(session.os)].filter(Boolean).join(' on ') ||
  session.device ||
  'Unknown device';

/** The values of a breakdown in a line, the most frequent first: Chrome 120, Firefox 3. */
function inLine({ groups, totalCount }: BreakdownPartFragment): string {
  const rest = groups.reduce((left, { count: number }) => left - number, totalCount);
  return [...groups, ...(rest > 0 ? [{ value: 'others', count: rest }] : [])]
    .map(({ value, count: number }) => `${value ?? 'unknown'} ${formatNumber(number)}`)
    .join(', ');
}

/** What all sessions of the user run on, counted by the server. */
function AllDevices({ identity }: { identity: string }): ReactNode {
  const { data, error, retry } = useAsked({
    query: RunsOnDocument,
    variables: { filter: { identities: [identity] } },
    requestPolicy: 'network-only',
  });
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={3} label="Counting all sessions" />;
  return (
    <Facts
      facts={[
        ['Browsers', inLine(data.browsers)],
        ['Systems', inLine(data.systems)],
        ['Devices', inLine(data.devices)],
      ]}
    />
  );
}

/**
 * What the user's sessions run on, the latest first: by the device's id or, without one, by its name. `sessions` are the
 * latest of `total`. If these are not all, what all of them run on is counted below.
 */
export function Devices({
  identity,
  sessions,
  total,
}: {
  identity: string;
  sessions: readonly SessionRowFragment[];
  total: number;
}): ReactNode {
  const devices = new Map<string, { latest: SessionRowFragment; sessions: number }>();
  for (const session of sessions) {
    const key = session.deviceId ?? nameOf(session);
    const known = devices.get(key);
    devices.set(key, { latest: known?.latest ?? session, sessions: (known?.sessions ?? 0) + 1 });
  }
  const shown = [...devices].slice(0, MOST_DEVICES);
  const isAll = sessions.length >= total;
  return (
    <Card
      title="Devices"
      tools={
        <span className="muted">
          {isAll
            ? `Of ${count(total, 'session')}`
            : `Of the latest ${formatNumber(sessions.length)} of ${count(total, 'session')}`}
        </span>
      }
    >
      {shown.length === 0 && <p className="card-text muted">None.</p>}
      <ul className="rows">
        {shown.map(([key, { latest, sessions: number }]) => (
          <li key={key}>
            <span className="two-lines">
              <span>{nameOf(latest)}</span>
              {latest.deviceId && <span className="muted clip">{latest.deviceId}</span>}
            </span>
            <span className="muted row-end">{count(number, 'session')}</span>
          </li>
        ))}
      </ul>
      {devices.size > shown.length && (
        <p className="card-text muted">And {count(devices.size - shown.length, 'more device')}.</p>
      )}
      {!isAll && (
        <>
          <p className="card-text muted">Of all {count(total, 'session')}:</p>
          <AllDevices identity={identity} />
        </>
      )}
    </Card>
  );
}

/** What the application says of the user. */
export const UserData = ({ data }: { data: Record<string, unknown> }): ReactNode => (
  <Card title="Data">
    <div className="card-text">
      <EventData data={data} />
    </div>
  </Card>
);

type TimelineEvent = NonNullable<TimelineQuery['user']>['events']['nodes'][number];

const textOf = ({ message, source }: TimelineEvent): string => message || source || '';

const typeOf = ({ type }: TimelineEvent): ReactNode => (
  <span className={type === 'error' ? 'type error' : 'type'}>{type}</span>
);

/** One page of the timeline, and the button for the next one. */
function TimelinePage({
  identity,
  after,
  onMore,
}: {
  identity: string;
  after: string | null;
  /** Null: the next page is there already. */
  onMore: ((after: string) => void) | null;
}): ReactNode {
  const { data, error, retry } = useAsked({
    query: TimelineDocument,
    variables: { identity, after },
    requestPolicy: 'network-only',
  });
  if (error && !data) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={4} label="Loading timeline" />;
  const events = data.user?.events;
  const cursor = events?.pageInfo.hasNextPage ? events.pageInfo.endCursor : null;
  const pathOf = ({ id, session }: TimelineEvent): string => (session ? stepPath(session.id, id) : eventPath(id));
  return (
    <>
      {events?.nodes.length === 0 && after === null && <Empty title="No events" />}
      <ul className="rows">
        {events?.nodes.map((event, place) => (
          <li key={event.id}>
            {textOf(event) && typeOf(event)}
            <Link href={pathOf(event)} className="clip timeline-link">
              {textOf(event) || typeOf(event)}
            </Link>
            <span className="muted row-end">
              {event.session && event.session.id !== events.nodes[place - 1]?.session?.id && (
                <span className="badge">
                  Session of&nbsp;
                  <Moment at={event.session.startedAt} />
                </span>
              )}{' '}
              <Moment at={event.occurredAt} />
            </span>
          </li>
        ))}
      </ul>
      {cursor && onMore && (
        <button type="button" className="button more" onClick={() => onMore(cursor)}>
          Show earlier events
        </button>
      )}
    </>
  );
}

/** So many pages of the timeline are shown. The events page, filtered by the user, goes further. */
const MOST_PAGES = 20;

/** The user's events over all sessions, the newest first. */
export function Timeline({ identity }: { identity: string }): ReactNode {
  const [pages, setPages] = useState<readonly (string | null)[]>([null]);
  const address = new URLSearchParams({ user: identity });
  return (
    <Card title="Timeline" tools={<Link href={`/events?${address}`}>Search these events</Link>} className="timeline">
      {pages.map((after, place) => (
        <TimelinePage
          key={after ?? ''}
          identity={identity}
          after={after}
          onMore={place === pages.length - 1 && pages.length < MOST_PAGES ? (next) => setPages([...pages, next]) : null}
        />
      ))}
    </Card>
  );
}
