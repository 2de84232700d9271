import { memo, useRef, type ReactNode } from 'react';
import { Link } from 'wouter';
import { changeAddress, useParams } from './address';
import { useApi } from './api';
import { conflictsIn, isBackwards, isNarrowed, singleConditions, timeRange, type Condition } from './conditions';
import { ActiveChips, MomentInput, SearchBox } from './filter-fields';
import { formatMoment, formatNumber } from './format';
import {
  OnlineCountDocument,
  UsersDocument,
  type UserFilter,
  type UserOrder,
  type UserRowFragment,
} from './generated/graphql';
import { useLive } from './live';
import { MOST_ROWS, usePagedList, type PagedList } from './paged-list';
import { Avatar, ListView, Moment, PageHead } from './parts';
import { userPath } from './paths';
import { useThrottled } from './throttle';
import { WindowTable, type RowProps } from './window-table';

/** Of a row, in pixels. */
const HEIGHTS = { wide: 52, phone: 76 };
/** When users come or go, the first page is read again, at most once in this time. Milliseconds. */
const LOOK = 10_000;
const COLUMNS = ['User', 'Presence', 'Last seen', 'First seen'];

/** The orders that can be chosen. `key` is the value in the address. */
const ORDERS = [
  { key: 'seen', name: 'Last seen first', order: { field: 'LAST_SEEN_AT', direction: 'DESC' } },
  { key: 'away', name: 'Longest away first', order: { field: 'LAST_SEEN_AT', direction: 'ASC' } },
  { key: 'new', name: 'Newest first', order: { field: 'FIRST_SEEN_AT', direction: 'DESC' } },
  { key: 'old', name: 'Oldest first', order: { field: 'FIRST_SEEN_AT', direction: 'ASC' } },
] as const satisfies readonly { key: string; name: string; order: UserOrder }[];

const STATUSES = [
  { value: '', name: 'All' },
  { value: 'ONLINE', name: 'Online' },
  { value: 'OFFLINE', name: 'Offline' },
] as const;

/** The filter of users in the address. */
function readUserFilter(params: URLSearchParams): UserFilter {
  const status = params.get('status');
  const search = params.get('q')?.trim();
  return {
    ...(search ? { search } : {}),
    ...(status === 'ONLINE' || status === 'OFFLINE' ? { status } : {}),
    firstSeenAt: timeRange(params, 'firstFrom', 'firstTo'),
    lastSeenAt: timeRange(params, 'lastFrom', 'lastTo'),
  };
}

const RANGES = [
  {
    low: 'firstFrom',
    high: 'firstTo',
    isEmpty: isBackwards,
    told: '“First seen from” is not before “First seen before”.',
  },
  { low: 'lastFrom', high: 'lastTo', isEmpty: isBackwards, told: '“Last seen from” is not before “Last seen before”.' },
];

function userConditions(params: URLSearchParams): Condition[] {
  const moment = (value: string): string => formatMoment(new Date(value), Date.now());
  return singleConditions(params, {
    firstFrom: (value) => `First seen from ${moment(value)}`,
    firstTo: (value) => `First seen before ${moment(value)}`,
    lastFrom: (value) => `Last seen from ${moment(value)}`,
    lastTo: (value) => `Last seen before ${moment(value)}`,
  });
}

const Row = memo(function Row({ item: user, index, top }: RowProps<UserRowFragment>): ReactNode {
  const { identity, name, presence, firstSeenAt, lastSeenAt } = user;
  const isOnline = presence.status === 'ONLINE';
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-index={index}
      className="session-row user-row"
      style={{ transform: `translateY(${top}px)` }}
    >
      <div role="cell" className="cell-user">
        <Avatar identity={identity} name={name} online={isOnline} />
        <span className="two-lines">
          <Link className="row-link user-link" href={userPath(identity)}>
            {name ?? identity}
          </Link>
          {name && name !== identity && <span className="muted clip">{identity}</span>}
        </span>
      </div>
      <div role="cell" className="cell-end">
        <span className={isOnline ? 'badge active' : 'badge'}>{isOnline ? 'Online' : 'Offline'}</span>
      </div>
      <div role="cell" className="cell-seen">
        <Moment at={lastSeenAt} ago />
      </div>
      <div role="cell" className="cell-first muted">
        <span className="unit">First seen </span>
        <Moment at={firstSeenAt} />
      </div>
    </div>
  );
});

function endOf({ hasMore, rows }: PagedList<UserRowFragment>): string {
  if (hasMore && rows.length >= MOST_ROWS)
    return `These are the first ${formatNumber(rows.length)}. Narrow the filter to see more.`;
  if (hasMore) return 'Loading more…';
  return rows.length > 20 ? 'End of the list.' : '';
}

/**
 * The users of the project, with the filter and the order of the address. Rows keep their places. When the number of users online
 * changes, the first hundred are read again.
 */
export function UsersPage(): ReactNode {
  const { client } = useApi();
  const params = useParams();
  const filter = readUserFilter(params);
  const { key, order } = ORDERS.find((one) => one.key === params.get('sort')) ?? ORDERS[0];
  const conditions = userConditions(params);
  const conflicts = conflictsIn(params, RANGES);
  const list = usePagedList(JSON.stringify([filter, key]), async (after) => {
    const { data, error } = await client
      .query(UsersDocument, { filter, orderBy: order, after }, { requestPolicy: 'network-only' })
      .toPromise();
    return { page: data?.users, error };
  });
  const look = useThrottled(list.refresh, LOOK, list.rest);
  /** Whether the first number has come. It says of no change since then, but the rows may have been read before. */
  const isTold = useRef(false);
  useLive(
    OnlineCountDocument,
    {},
    {
      data() {
        if (isTold.current || list.rows.length > 0) look();
        isTold.current = true;
      },
    },
  );
  const get = (name: string): string => params.get(name) ?? '';
  return (
    <>
      <PageHead title="Users" />
      <div className="toolbar">
        <SearchBox name="Search for a user" hint="Search by name or identity…" />
        <div className="segments" role="group" aria-label="Presence">
          {STATUSES.map(({ value, name }) => (
            <button
              key={value}
              type="button"
              aria-pressed={get('status') === value}
              onClick={() => changeAddress({ status: value })}
            >
              {name}
            </button>
          ))}
        </div>
        <select
          aria-label="Order"
          className="sort"
          value={key}
          onChange={(event) => changeAddress({ sort: event.target.value === 'seen' ? null : event.target.value })}
        >
          {ORDERS.map((one) => (
            <option key={one.key} value={one.key}>
              {one.name}
            </option>
          ))}
        </select>
      </div>
      <details className="more-filters">
        <summary>First and last seen</summary>
        <div className="filter-panel card">
          <MomentInput
            name="First seen from"
            value={get('firstFrom')}
            onChange={(firstFrom) => changeAddress({ firstFrom })}
          />
          <MomentInput
            name="First seen before"
            value={get('firstTo')}
            told={conflicts.get('firstTo')}
            onChange={(firstTo) => changeAddress({ firstTo })}
          />
          <MomentInput
            name="Last seen from"
            value={get('lastFrom')}
            onChange={(lastFrom) => changeAddress({ lastFrom })}
          />
          <MomentInput
            name="Last seen before"
            value={get('lastTo')}
            told={conflicts.get('lastTo')}
            onChange={(lastTo) => changeAddress({ lastTo })}
          />
        </div>
      </details>
      {conditions.length > 0 && (
        <ActiveChips
          conditions={conditions}
          onClear={() => changeAddress({ firstFrom: null, firstTo: null, lastFrom: null, lastTo: null })}
        />
      )}
      <ListView
        things="users"
        list={list}
        isOld={list.isOld}
        all={isNarrowed(params) ? '/users' : null}
        conflicts={conflicts}
        hint="Users appear here as they arrive."
        end={endOf(list)}
      >
        <WindowTable
          label="Users"
          className="user-table"
          columns={COLUMNS}
          rows={list.rows}
          heights={HEIGHTS}
          Row={Row}
          onNearEnd={list.more}
        />
      </ListView>
    </>
  );
}
