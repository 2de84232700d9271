import { useRef, useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { useAsked } from './answer';
import { useApi } from './api';
import { Confirm } from './confirm';
import { useRights } from './credential';
import { count, formatNumber } from './format';
import {
  EraseUserDocument,
  MoreOfUserDocument,
  SessionsOfUserDocument,
  UserDocument,
  type SessionRowFragment,
  type UserQuery,
} from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { OnlineLine } from './online-line';
import { NotFound } from './not-found';
import { Avatar, Empty, Loading, Moment, PageHead, Problem } from './parts';
import { usePresenceOf } from './presence';
import { SessionTable } from './session-table';
import { useTitle } from './title';
import { Devices, Timeline, UserData } from './user-parts';

type Found = NonNullable<UserQuery['user']>;

/** Erases a user after a confirmation. Needs MANAGE. */
const Erase = ({ user, onErased }: { user: Found; onErased: (told: string) => void }): ReactNode => (
  <Confirm
    button="Erase…"
    className="button danger"
    title={`Erase ${user.name ?? user.identity}?`}
    does="Erase permanently"
    doing="Erasing…"
    mutation={EraseUserDocument}
    variables={{ identity: user.identity }}
    onDone={({ eraseUser: { sessions, events } }) =>
      onErased(`${count(sessions, 'session')} and ${count(events, 'event')} were deleted.`)
    }
  >
    This permanently deletes the user <b>{user.identity}</b>, with {count(user.sessions.totalCount, 'session')} and all
    their events.
  </Confirm>
);

function UserView({ found, onErased }: { found: Found; onErased: (told: string) => void }): ReactNode {
  const { client } = useApi();
  const { manage } = useRights();
  const presence = usePresenceOf(found.identity);
  const [list, setList] = useState<Pick<Found['sessions'], 'nodes' | 'pageInfo'>>(found.sessions);
  const [total, setTotal] = useState(found.sessions.totalCount);
  const busy = useRef(false);
  const { identity, name } = found;
  const isOnline = presence?.status === 'ONLINE';

  async function more(): Promise<void> {
    const after = list.pageInfo.endCursor;
    if (!list.pageInfo.hasNextPage || !after || busy.current) return;
    busy.current = true;
    const { data } = await client
      .query(MoreOfUserDocument, { identity, after }, { requestPolicy: 'network-only' })
      .toPromise();
    busy.current = false;
    const next = data?.user?.sessions;
    if (next) setList((known) => ({ nodes: [...known.nodes, ...next.nodes], pageInfo: next.pageInfo }));
  }

  function put(session: SessionRowFragment, isNew: boolean): void {
    setList((known) => {
      const place = known.nodes.findIndex(({ id }) => id === session.id);
      if (place >= 0) return { ...known, nodes: known.nodes.with(place, session) };
      return isNew ? { ...known, nodes: [session, ...known.nodes] } : known;
    });
    if (isNew) setTotal((known) => known + 1);
  }

  async function catchUp(): Promise<void> {
    const { data } = await client.query(UserDocument, { identity }, { requestPolicy: 'network-only' }).toPromise();
    if (!data?.user) return;
    setList(data.user.sessions);
    setTotal(data.user.sessions.totalCount);
  }

  useLive(
    SessionsOfUserDocument,
    { identity },
    {
      data: ({ sessionChanged: { kind, session } }) => put(session, kind === 'STARTED'),
      open: (again) => again && void catchUp(),
    },
  );

  useTitle(name ? `${name} (${identity})` : identity);
  const seen = presence?.lastSeenAt ?? found.lastSeenAt;
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link href="/users">Users</Link>
        <Icon name="right" size={14} />
        <span aria-current="page">User</span>
      </nav>
      <PageHead
        title={
          <span className="with-avatar">
            <Avatar identity={identity} name={name} online={isOnline} />
            <span className="two-lines">
              <span className="clip" title={name ?? identity}>
                {name ?? identity}
              </span>
              {name && (
                <span className="muted clip subtitle" title={identity}>
                  {identity}
                </span>
              )}
            </span>
          </span>
        }
      >
        {manage && <Erase user={found} onErased={onErased} />}
      </PageHead>
      <dl className="figures slim">
        <div className="figure">
          <dt>Presence</dt>
          <dd className="figure-value small">
            {!presence && '…'}
            {presence && (
              <>
                <span className={isOnline ? 'badge active' : 'badge'}>{isOnline ? 'Online' : 'Offline'}</span>
                {presence.since && (
                  <span className="muted">
                    since <Moment at={presence.since} />
                  </span>
                )}
              </>
            )}
          </dd>
        </div>
        <div className="figure">
          <dt>Sessions</dt>
          <dd className="figure-value">{formatNumber(total)}</dd>
        </div>
        <div className="figure">
          <dt>First seen</dt>
          <dd className="figure-value">
            <Moment at={found.firstSeenAt} />
          </dd>
        </div>
        <div className="figure">
          <dt>Last seen</dt>
          <dd className="figure-value">
            <Moment at={seen} ago />
          </dd>
        </div>
      </dl>
      <OnlineLine identity={identity} presence={presence} />
      <div className="columns user-columns">
        <Timeline identity={identity} />
        <div className="stack">
          <Devices identity={identity} sessions={list.nodes} total={total} />
          <UserData data={found.data} />
        </div>
      </div>
      {list.nodes.length === 0 ? (
        <Empty title="No sessions" />
      ) : (
        <SessionTable rows={list.nodes} total={total} onNearEnd={() => void more()} showUser={false} />
      )}
    </>
  );
}

/** The page of one user: presence, when the user was online, and all sessions. */
export function UserPage({ identity }: { identity: string }): ReactNode {
  const [erased, setErased] = useState<string | null>(null);
  const { data, error, retry } = useAsked({
    query: UserDocument,
    variables: { identity },
    requestPolicy: 'network-only',
    pause: erased !== null,
  });
  if (erased) {
    return (
      <Empty title={`${identity} was erased`} isPage>
        {erased} <Link href="/sessions">Go to sessions</Link>
      </Empty>
    );
  }
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={10} label="Loading user" />;
  if (!data.user) {
    return <NotFound title="No user with this identity" path="/users" list="users" />;
  }
  function onErased(told: string): void {
    setErased(told);
    // What had the focus is gone.
    document.getElementById('main')?.focus();
  }
  return <UserView found={data.user} onErased={onErased} />;
}
