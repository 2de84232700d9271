import { useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { useApi } from './api';
import { useRights } from './credential';
import { count, formatNumber } from './format';
import { DoingNowDocument, DoingsDocument, type DoingFragment, type DoingsQuery } from './generated/graphql';
import { useLive } from './live';
import { Avatar, Card, Empty, Loading, Moment, PageHead, UserLines } from './parts';
import { sessionPath } from './paths';
import { useOnline, type PresentUser } from './presence';

/** How many users are shown at first, and how many more each press of the button shows. */
const STEP = 50;
/** The sessions of users who arrive within this time are read in one query. Milliseconds. */
const GATHER = 250;

type OpenSession = DoingsQuery['sessions']['nodes'][number];

/** The identity behind its mark. */
const identityOf = (marked: string): string => marked.slice(marked.indexOf(' ') + 1);

/**
 * The open sessions of the users shown, by identity, each with its latest event, updated live. Users whose sessions have not
 * been read yet are not in it. Each text in `identities` is a mark, a space, and the identity. A new mark makes the hook read
 * that user's sessions again.
 */
function useDoings(identities: readonly string[]): ReadonlyMap<string, readonly OpenSession[]> {
  const { client } = useApi();
  const [sessions, setSessions] = useState<ReadonlyMap<string, OpenSession>>(new Map());
  const [answered, setAnswered] = useState<ReadonlySet<string>>(new Set());
  const asked = useRef(new Set<string>());
  /** How often the stream was lost. The number is part of each mark, so that all users are read again. */
  const [gaps, setGaps] = useState(0);
  const wanted = JSON.stringify(identities.map((marked) => `${gaps}-${marked}`));

  useEffect(() => {
    async function look(unknown: string[]): Promise<void> {
      const { data } = await client
        .query(DoingsDocument, { identities: unknown }, { requestPolicy: 'network-only' })
        .toPromise();
      if (!data) return;
      const found = data.sessions.nodes.map((one) => [one.id, one] as const);
      // What is known of others than those shown now is forgotten, or a page that is left open would grow.
      const shown = new Set([...asked.current].map(identityOf));
      const isShown = ({ user }: OpenSession): boolean => shown.has(user?.identity ?? '');
      setSessions((known) => new Map([...[...known].filter(([, one]) => isShown(one)), ...found]));
      setAnswered((known) => new Set([...[...known].filter((identity) => shown.has(identity)), ...unknown]));
    }

    const timer = window.setTimeout(() => {
      const all = JSON.parse(wanted) as string[];
      const unknown = all.filter((marked) => !asked.current.has(marked));
      if (unknown.length === 0) return;
      asked.current = new Set(all);
      void look(unknown.map(identityOf));
    }, GATHER);
    return () => window.clearTimeout(timer);
  }, [client, wanted]);

  useLive(
    DoingNowDocument,
    {},
    {
      data({ eventIngested: { session, ...event } }) {
        if (!session) return;
        setSessions((known) => {
          const open = known.get(session.id);
          const latest = open?.events.nodes[0];
          if (!open || (latest && latest.occurredAt > event.occurredAt)) return known;
          return new Map(known).set(session.id, { ...open, events: { ...open.events, nodes: [event] } });
        });
      },
      open(again) {
        if (again) setGaps((known) => known + 1);
      },
    },
  );

  return useMemo(() => {
    const byUser = new Map([...answered].map((identity) => [identity, [] as OpenSession[]]));
    for (const session of sessions.values()) {
      const identity = session.user?.identity ?? '';
      byUser.set(identity, [...(byUser.get(identity) ?? []), session]);
    }
    return byUser;
  }, [answered, sessions]);
}

const deviceOf = ({ browser, os, device }: OpenSession): string =>
  [browser?.name, os?.name].filter(Boolean).join(' on ') || device || 'Unknown device';

/** The latest event of a user on all devices; null if there is none. */
function latestOf(sessions: readonly OpenSession[]): { event: DoingFragment; session: OpenSession } | null {
  const all = sessions.flatMap((session) => session.events.nodes.map((event) => ({ event, session })));
  return all.toSorted((a, b) => b.event.occurredAt.localeCompare(a.event.occurredAt))[0] ?? null;
}

/** `hasEvents`: the key may see events. */
function OnlineUser({
  user,
  sessions,
  hasEvents,
}: {
  user: PresentUser;
  /** Undefined: they are not known yet. */
  sessions: readonly OpenSession[] | undefined;
  hasEvents: boolean;
}): ReactNode {
  const latest = latestOf(sessions ?? []);
  const devices = [...new Set(sessions?.map(deviceOf))];
  return (
    <li className="online-row" data-identity={user.identity}>
      <div className="online-who">
        <Avatar identity={user.identity} name={user.name} online />
        <UserLines user={user} />
      </div>
      <div className="online-since">
        <span className="label">Online since</span>
        {user.since && <Moment at={user.since} ago />}
      </div>
      <div className="online-devices">
        <span className="label">{user.onlineSessions > 1 ? count(user.onlineSessions, 'session') : 'Device'}</span>
        <span className="clip" title={devices.join(', ')}>
          {devices.join(', ') || (hasEvents && !sessions ? '…' : '–')}
        </span>
      </div>
      <div className="online-latest">
        <span className="label">Latest event</span>
        {latest ? (
          <Link href={sessionPath(latest.session.id)} className="clip" title="Open the session">
            <span className={latest.event.type === 'error' ? 'type error' : 'type'}>{latest.event.type}</span>{' '}
            {latest.event.message ?? latest.event.source}
          </Link>
        ) : (
          <span className="muted">{!hasEvents ? '–' : sessions ? 'No events yet' : '…'}</span>
        )}
        {latest && (
          <span className="muted">
            <Moment at={latest.event.occurredAt} ago />
          </span>
        )}
      </div>
    </li>
  );
}

/** The users who are online now, updated live. */
export function OnlinePage(): ReactNode {
  const presence = useOnline();
  // With PRESENCE alone, sessions and their events are not to be seen.
  const { read } = useRights();
  const [most, setMost] = useState(STEP);
  const [search, setSearch] = useState('');
  const needle = search.trim().toLowerCase();
  const matching =
    presence?.online.filter(
      ({ identity, name }) => !needle || `${identity} ${name ?? ''}`.toLowerCase().includes(needle),
    ) ?? [];
  const shown = matching.slice(0, most);
  // The mark changes when a user comes back or has another number of sessions: useDoings then reads them again.
  const doings = useDoings(
    read ? shown.map(({ since, onlineSessions, identity }) => `${since}/${onlineSessions} ${identity}`) : [],
  );

  return (
    <>
      <PageHead
        title={
          <>
            Online now
            {presence && (
              <span className="title-count">
                <span className="dot online" aria-hidden="true" />
                {formatNumber(presence.online.length)}
              </span>
            )}
          </>
        }
      >
        <input
          type="search"
          aria-label="Find a user who is online"
          placeholder="Find a user…"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
      </PageHead>
      {!presence && <Loading lines={8} />}
      {presence && matching.length === 0 && (
        <Empty title={needle ? 'No one with this name is online' : 'No one is online'}>
          {needle ? 'Try another part of the name.' : 'Users appear here as they arrive.'}
        </Empty>
      )}
      {shown.length > 0 && (
        <ul className="online-list card" aria-label="Users online">
          {shown.map((user) => (
            <OnlineUser
              key={user.identity}
              user={user}
              hasEvents={read}
              sessions={doings.get(user.identity)?.slice(-Math.max(1, user.onlineSessions))}
            />
          ))}
        </ul>
      )}
      {matching.length > most && (
        <button type="button" className="button more" onClick={() => setMost(most + STEP)}>
          Show {Math.min(STEP, matching.length - most)} more of {formatNumber(matching.length - most)}
        </button>
      )}
      {presence && presence.left.length > 0 && (
        <Card title="Recently left">
          <ul className="rows">
            {presence.left.map((user) => (
              <li key={user.identity}>
                <Avatar identity={user.identity} name={user.name} />
                <UserLines user={user} />
                <span className="muted row-end">{user.since && <Moment at={user.since} ago />}</span>
              </li>
            ))}
          </ul>
        </Card>
      )}
    </>
  );
}
