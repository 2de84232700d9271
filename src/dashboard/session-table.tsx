import { memo, useRef, type ReactNode } from 'react';
import { Link } from 'wouter';
import { useNow } from './clock';
import { formatDuration, formatNumber, formatSoftware } from './format';
import type { SessionRowFragment } from './generated/graphql';
import { Icon } from './icons';
import { useNarrow } from './media';
import { Avatar, Moment, UserLines } from './parts';
import { sessionPath } from './paths';
import { END_REASONS } from './session-filter';
import { stepRows, useWindowRows } from './window-rows';

const HEIGHT = 48;
const HEIGHT_OF_PHONES = 88;

/** The duration of a session. For an active session it counts up to now. */
export function Duration({
  session,
}: {
  session: Pick<SessionRowFragment, 'status' | 'startedAt' | 'duration'>;
}): ReactNode {
  return session.status === 'ACTIVE' ? <Ticking since={session.startedAt} /> : formatDuration(session.duration);
}

function Ticking({ since }: { since: string }): ReactNode {
  return <span className="ticking">{formatDuration((useNow() - Date.parse(since)) / 1_000)}</span>;
}

/** A badge with the reason why a session ended, or "Active". */
export const Ending = ({ session }: { session: Pick<SessionRowFragment, 'status' | 'endReason'> }): ReactNode =>
  session.status === 'ACTIVE' ? (
    <span className="badge active">Active</span>
  ) : (
    <span className="badge">{session.endReason ? END_REASONS[session.endReason] : 'Ended'}</span>
  );

const Row = memo(function Row({
  session,
  index,
  top,
  showUser,
}: {
  session: SessionRowFragment;
  index: number;
  top: number;
  showUser: boolean;
}): ReactNode {
  const { user, startedAt, eventCount, errorCount } = session;
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-index={index}
      className="session-row"
      style={{ transform: `translateY(${top}px)` }}
    >
      {showUser && (
        <div role="cell" className="cell-user">
          {user && <Avatar identity={user.identity} name={user.name} />}
          <UserLines user={user} />
        </div>
      )}
      <div role="cell" className="cell-start">
        <Link className="row-link" href={sessionPath(session.id)}>
          <Moment at={startedAt} />
          <span className="hidden">, session of {user?.name ?? user?.identity ?? 'no user'}</span>
        </Link>
      </div>
      <div role="cell" className="cell-duration number">
        <Duration session={session} />
      </div>
      <div role="cell" className="cell-events number">
        {formatNumber(eventCount)}
        <span className="unit">{eventCount === 1 ? ' event' : ' events'}</span>
      </div>
      <div role="cell" className="cell-errors number">
        {errorCount > 0 ? (
          <span className="badge error">
            {formatNumber(errorCount)}
            <span className="unit">{errorCount === 1 ? ' error' : ' errors'}</span>
          </span>
        ) : (
          <span className="muted none">0</span>
        )}
      </div>
      <div role="cell" className="cell-browser clip">
        {formatSoftware(session.browser) ?? <span className="muted">–</span>}
        {session.isBot && <span className="badge">Bot</span>}
      </div>
      <div role="cell" className="cell-system clip">
        {formatSoftware(session.os) ?? session.device ?? <span className="muted">–</span>}
      </div>
      <div role="cell" className="cell-end">
        <Ending session={session} />
      </div>
    </div>
  );
});

/** A column heading that sorts the list. Pressing it again reverses the order. */
function SortHead({
  name,
  keys,
  sort,
  onSort,
  className,
}: {
  name: string;
  keys: readonly [string, string];
  sort: string;
  onSort: (key: string) => void;
  className: string;
}): ReactNode {
  const [falling, rising] = keys;
  const direction = sort === falling ? 'descending' : sort === rising ? 'ascending' : 'none';
  return (
    <div role="columnheader" aria-sort={direction} className={className}>
      <button type="button" onClick={() => onSort(sort === falling ? rising : falling)}>
        {name}
        {direction !== 'none' && <Icon name={direction === 'descending' ? 'down' : 'up'} size={14} />}
      </button>
    </div>
  );
}

/** A table of any number of sessions. Only the rows in sight are drawn. Arrow keys move the focus between rows. */
export function SessionTable({
  rows,
  total,
  sort = null,
  onSort,
  onNearEnd,
  showUser = true,
}: {
  rows: readonly SessionRowFragment[];
  total: number | null;
  sort?: string | null;
  onSort?: (key: string) => void;
  onNearEnd: () => void;
  showUser?: boolean;
}): ReactNode {
  const body = useRef<HTMLDivElement>(null);
  const isNarrow = useNarrow();
  const height = isNarrow ? HEIGHT_OF_PHONES : HEIGHT;
  const [first, last] = useWindowRows(body, rows.length, height, onNearEnd);

  // On phones the head is for screen readers alone. It has no buttons there: their focus could not be seen, and the page has a list of orders.
  const head = (name: string, className: string, keys?: readonly [string, string]): ReactNode =>
    keys && sort !== null && onSort && !isNarrow ? (
      <SortHead name={name} className={className} keys={keys} sort={sort} onSort={onSort} />
    ) : (
      <div role="columnheader" className={className}>
        {name}
      </div>
    );

  return (
    <div
      role="table"
      aria-label="Sessions"
      aria-rowcount={(total ?? rows.length) + 1}
      className={showUser ? 'session-table card' : 'session-table card no-user'}
    >
      <div role="rowgroup" className="session-head">
        <div role="row" aria-rowindex={1}>
          {showUser && head('User', 'cell-user')}
          {head('Started', 'cell-start', ['newest', 'oldest'])}
          {head('Duration', 'cell-duration number', ['longest', 'shortest'])}
          {head('Events', 'cell-events number', ['most', 'fewest'])}
          {head('Errors', 'cell-errors number')}
          {head('Browser', 'cell-browser')}
          {head('OS', 'cell-system')}
          {head('Status', 'cell-end')}
        </div>
      </div>
      <div
        role="rowgroup"
        ref={body}
        className="session-body"
        style={{ height: rows.length * height }}
        onKeyDown={(event) => stepRows(event, rows.length, height)}
      >
        {rows.slice(first, last).map((session, place) => (
          <Row
            key={session.id}
            session={session}
            index={first + place}
            top={(first + place) * height}
            showUser={showUser}
          />
        ))}
      </div>
    </div>
  );
}
