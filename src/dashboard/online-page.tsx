import { useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { useApi } from './api';
import { count, formatNumber } from './format';
import { DoingNowDocument, DoingsDocument, type DoingFragment, type DoingsQuery } from './generated/graphql';
import { useLive } from './live';
import { Avatar, Card, Empty, Loading, Moment, PageHead, UserLink } from './parts';
import { sessionPath } from './paths';
import { useOnline, type PresentUser } from './presence';

/** Users whose sessions are asked for at once; more are shown on request. */
const STEP = 50;
/** Those who arrive within this time are asked for together. Milliseconds. */
const GATHER = 250;

type OpenSession = DoingsQuery['sessions']['nodes'][number];

/** What the users shown do: their open sessions, and in each the latest event, kept up with as it happens. */
function useDoings(identities: readonly string[]): ReadonlyMap<string, readonly OpenSession[]> {
  const { client } = useApi();
  const [sessions, setSessions] = useState<ReadonlyMap<string, OpenSession>>(new Map());
  const asked = useRef(new Set<string>());
  /** How often something may have been missed: it is part of the first word, so that all is asked for anew. */
  const [gaps, setGaps] = useState(0);
  const wanted = JSON.stringify(identities.map((marked) => `${gaps}-${marked}`));

  useEffect(() => {
    async function look(unknown: string[]): Promise<void> {
      const { data } = await client
        .query(DoingsDocument, { identities: unknown }, { requestPolicy: 'network-only' })
        .toPromise();
      const found = data?.sessions.nodes.map((one) => [one.id, one] as const) ?? [];
      setSessions((known) => new Map([...known, ...found]));
    }

    const timer = window.setTimeout(() => {
      const all = JSON.parse(wanted) as string[];
      const unknown = all.filter((marked) => !asked.current.has(marked));
      if (unknown.length === 0) return;
      for (const marked of unknown) asked.current.add(marked);
      void look(unknown.map((marked) => marked.slice(marked.indexOf(' ') + 1)));
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
    const byUser = new Map<string, OpenSession[]>();
    for (const session of sessions.values()) {
      const identity = session.user?.identity ?? '';
      byUser.set(identity, [...(byUser.get(identity) ?? []), session]);
    }
    return byUser;
  }, [sessions]);
}

const deviceOf = ({ browser, os, device }: OpenSession): string =>
  [browser?.name, os?.name].filter(Boolean).join(' on ') || device || 'Unknown device';

/** The latest of what somebody did on all devices. */
function latestOf(sessions: readonly OpenSession[]): { event: DoingFragment; session: OpenSession } | null {
  const all = sessions.flatMap((session) => session.events.nodes.map((event) => ({ event, session })));
  return all.toSorted((a, b) => b.event.occurredAt.localeCompare(a.event.occurredAt))[0] ?? null;
}

function OnlineUser({ user, sessions }: { user: PresentUser; sessions: readonly OpenSession[] }): ReactNode {
  const latest = latestOf(sessions);
  const devices = [...new Set(sessions.map(deviceOf))];
  return (
    <li className="online-row" data-identity={user.identity}>
      <div className="online-who">
        <Avatar identity={user.identity} name={user.name} online />
        <span className="two-lines">
          <UserLink user={user} />
          {user.name && <span className="muted clip">{user.identity}</span>}
        </span>
      </div>
      <div className="online-since">
        <span className="label">Came</span>
        {user.since && <Moment at={user.since} ago />}
      </div>
      <div className="online-devices">
        <span className="label">{user.onlineSessions > 1 ? count(user.onlineSessions, 'session') : 'Device'}</span>
        <span className="clip" title={devices.join(', ')}>
          {devices.join(', ') || '–'}
        </span>
      </div>
      <div className="online-latest">
        <span className="label">Latest</span>
        {latest ? (
          <Link href={sessionPath(latest.session.id)} className="clip" title="Open the session">
            <span className={latest.event.type === 'error' ? 'type error' : 'type'}>{latest.event.type}</span>{' '}
            {latest.event.message ?? latest.event.source}
          </Link>
        ) : (
          <span className="muted">Nothing yet</span>
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

/** Who is here now, as they come and go. */
export function OnlinePage(): ReactNode {
  const presence = useOnline();
  const [most, setMost] = useState(STEP);
  const [search, setSearch] = useState('');
  const needle = search.trim().toLowerCase();
  const matching =
    presence?.online.filter(
      ({ identity, name }) => !needle || `${identity} ${name ?? ''}`.toLowerCase().includes(needle),
    ) ?? [];
  const shown = matching.slice(0, most);
  // Who comes back, or opens another session, is asked for anew: that is what the first word is for.
  const doings = useDoings(
    shown.map(({ since, onlineSessions, identity }) => `${since}/${onlineSessions} ${identity}`),
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
        <Empty title={needle ? 'Nobody of this name is online' : 'Nobody is online'}>
          {needle ? 'Try another part of the name.' : 'Users appear here the moment they arrive.'}
        </Empty>
      )}
      {shown.length > 0 && (
        <ul className="online-list card" aria-label="Users online">
          {shown.map((user) => (
            <OnlineUser
              key={user.identity}
              user={user}
              sessions={(doings.get(user.identity) ?? []).slice(-Math.max(1, user.onlineSessions))}
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
        <Card title="Just left">
          <ul className="rows">
            {presence.left.map((user) => (
              <li key={user.identity}>
                <Avatar identity={user.identity} name={user.name} />
                <UserLink user={user} />
                <span className="muted row-end">{user.since && <Moment at={user.since} ago />}</span>
              </li>
            ))}
          </ul>
        </Card>
      )}
    </>
  );
}
