import { memo, useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import { navigate } from 'wouter/use-browser-location';
import { changeAddress, useParams } from './address';
import { isNarrowed } from './conditions';
import { eventConditions, eventConflicts, EVENT_LISTS, readEventFilter } from './event-filter';
import { MOST_NEW_EVENTS, useEventList } from './event-list';
import { ActiveChips, Choice, DataInput, Input, MomentInput, SearchBox, WordLists } from './filter-fields';
import { count, formatNumber } from './format';
import type { EventRowFragment } from './generated/graphql';
import { Icon } from './icons';
import { MOST_ROWS } from './paged-list';
import { ListView, Moment, PageHead, UserLink } from './parts';
import { eventPath } from './paths';
import { WindowTable, type RowProps } from './window-table';

/** Of a row, in pixels. */
const HEIGHTS = { wide: 48, phone: 76 };
const COLUMNS = ['Happened', 'Type', 'Message', 'Source', 'User'];

const Row = memo(function Row({ item: event, index, top }: RowProps<EventRowFragment>): ReactNode {
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-index={index}
      className="session-row event-row"
      style={{ transform: `translateY(${top}px)` }}
    >
      <div role="cell" className="cell-start">
        <Link className="row-link" href={eventPath(event.id)}>
          <Moment at={event.occurredAt} />
          <span className="hidden">, {event.type}</span>
        </Link>
      </div>
      <div role="cell" className="cell-type">
        <span className={event.type === 'error' ? 'type error clip' : 'type clip'}>{event.type}</span>
      </div>
      <div role="cell" className="cell-message clip">
        {event.message ?? event.source ?? <span className="muted">–</span>}
      </div>
      <div role="cell" className="cell-source clip muted">
        {event.message ? event.source : null}
      </div>
      <div role="cell" className="cell-who clip">
        {event.user ? <UserLink user={event.user} /> : <span className="muted">No user</span>}
      </div>
    </div>
  );
});

/** The panel with all conditions of a filter of events. */
function EventFilterPanel({ params, rows }: { params: URLSearchParams; rows: readonly EventRowFragment[] }): ReactNode {
  const get = (name: string): string => params.get(name) ?? '';
  return (
    <div className="filter-panel card">
      <WordLists lists={EVENT_LISTS} params={params} rows={rows} />
      <Input name="Reference ID" value={get('ref')} onChange={(event) => changeAddress({ ref: event.target.value })} />
      <MomentInput name="From" value={get('from')} onChange={(from) => changeAddress({ from })} />
      <MomentInput
        name="Before"
        value={get('to')}
        told={eventConflicts(params).get('to')}
        onChange={(to) => changeAddress({ to })}
      />
      <Choice
        name="Session"
        value={get('session')}
        options={[
          ['', 'With or without a session'],
          ['yes', 'With a session'],
          ['no', 'Without a session'],
        ]}
        onChange={(session) => changeAddress({ session })}
      />
      <DataInput value={get('data')} onChange={(data) => changeAddress({ data })} />
    </div>
  );
}

/** The events of the project, with the filter of the address. */
export function EventsPage(): ReactNode {
  const params = useParams();
  const [isOpen, setOpen] = useState(false);
  const list = useEventList(readEventFilter(params));
  const conditions = eventConditions(params);
  const isErrors = params.getAll('type').join() === 'error';

  function showNew(): void {
    window.scrollTo({ top: 0 });
    list.reload();
  }

  return (
    <>
      <PageHead title="Events" />
      <div className="toolbar">
        <SearchBox name="Search in messages and sources" hint="Search messages and sources…" />
        <button
          type="button"
          className="button"
          aria-pressed={isErrors}
          onClick={() => changeAddress({ type: isErrors ? null : 'error' })}
        >
          <Icon name="alert" size={16} /> Errors
        </button>
        <button type="button" className="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="filter" size={16} /> Filters
          {conditions.length > 0 && <b className="tally">{conditions.length}</b>}
        </button>
      </div>
      {isOpen && <EventFilterPanel params={params} rows={list.rows} />}
      {conditions.length > 0 && <ActiveChips conditions={conditions} onClear={() => navigate('/events')} />}
      <div className="announce" aria-live="polite">
        {list.fresh.size > 0 && (
          <button type="button" className="button primary fresh" onClick={showNew}>
            <Icon name="up" size={16} />
            {list.fresh.size >= MOST_NEW_EVENTS
              ? `${MOST_NEW_EVENTS} or more new events`
              : count(list.fresh.size, 'new event')}
          </button>
        )}
      </div>
      <ListView
        things="events"
        list={list}
        isOld={list.isOld}
        all={isNarrowed(params) ? '/events' : null}
        conflicts={eventConflicts(params)}
        hint="Events appear here as they arrive."
        end={endOf(list)}
      >
        <WindowTable
          label="Events"
          className="event-table"
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

function endOf({ hasMore, rows }: ReturnType<typeof useEventList>): string {
  if (hasMore && rows.length >= MOST_ROWS)
    return `These are the newest ${formatNumber(rows.length)}. Choose an earlier time to see more.`;
  if (hasMore) return 'Loading more…';
  return rows.length > 20 ? 'End of the list.' : '';
}
