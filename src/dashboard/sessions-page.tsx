import { useState, type ReactNode } from 'react';
import { navigate } from 'wouter/use-browser-location';
import { changeAddress, useParams } from './address';
import { isNarrowed } from './conditions';
import { ActiveChips, SearchBox } from './filter-fields';
import { FilterPanel } from './filter-panel';
import { count, formatNumber } from './format';
import { Icon } from './icons';
import { ListView, PageHead } from './parts';
import { conflictsOf, ORDERS, readFilter, readOrder, sessionConditions } from './session-filter';
import { MOST_NEW, useSessionList } from './session-list';
import { SessionTable } from './session-table';

const STATUSES = [
  { value: '', name: 'All' },
  { value: 'ACTIVE', name: 'Active' },
  { value: 'ENDED', name: 'Ended' },
];

/** The list of sessions, with the filter and the order of the address. */
export function SessionsPage(): ReactNode {
  const params = useParams();
  const [isOpen, setOpen] = useState(false);
  const filter = readFilter(params);
  const list = useSessionList(filter, readOrder(params));
  const conditions = sessionConditions(params);
  const sort = ORDERS.find(({ key }) => key === params.get('sort'))?.key ?? 'newest';
  function showNew(): void {
    window.scrollTo({ top: 0 });
    if (sort === 'newest') list.reload();
    else changeAddress({ sort: null });
  }

  return (
    <>
      <PageHead
        title={
          <>
            Sessions{' '}
            {list.total !== null && (
              <span className="title-count" title="Matching sessions">
                {formatNumber(list.total)}
              </span>
            )}
          </>
        }
      />
      <div className="toolbar">
        <SearchBox name="Search for a user or a session key" hint="Search users…" />
        <div className="segments" role="group" aria-label="Status">
          {STATUSES.map(({ value, name }) => (
            <button
              key={value}
              type="button"
              aria-pressed={(params.get('status') ?? '') === value}
              onClick={() => changeAddress({ status: value })}
            >
              {name}
            </button>
          ))}
        </div>
        <button
          type="button"
          className="button"
          aria-pressed={params.get('errors') === 'yes'}
          onClick={() => changeAddress({ errors: params.get('errors') === 'yes' ? null : 'yes' })}
        >
          <Icon name="alert" size={16} /> With errors
        </button>
        <button type="button" className="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="filter" size={16} /> Filters
          {conditions.length > 0 && <b className="tally">{conditions.length}</b>}
        </button>
        <select
          aria-label="Order"
          className="sort"
          value={sort}
          onChange={(event) => changeAddress({ sort: event.target.value === 'newest' ? null : event.target.value })}
        >
          {ORDERS.map(({ key, name }) => (
            <option key={key} value={key}>
              {name}
            </option>
          ))}
        </select>
      </div>
      {isOpen && <FilterPanel params={params} rows={list.rows} />}
      {conditions.length > 0 && <ActiveChips conditions={conditions} onClear={() => navigate('/sessions')} />}
      <div className="announce" aria-live="polite">
        {list.fresh > 0 && (
          <button type="button" className="button primary fresh" onClick={showNew}>
            <Icon name="up" size={16} />
            {list.fresh >= MOST_NEW ? `${MOST_NEW} or more new sessions` : count(list.fresh, 'new session')}
          </button>
        )}
      </div>
      <ListView
        things="sessions"
        list={list}
        isOld={list.loading}
        all={isNarrowed(params) ? '/sessions' : null}
        conflicts={conflictsOf(params)}
        hint="Sessions appear here as events arrive."
        end={list.hasMore ? 'Loading more…' : list.rows.length > 20 ? 'End of the list.' : ''}
      >
        <SessionTable
          rows={list.rows}
          total={list.total}
          sort={sort}
          onSort={(key) => changeAddress({ sort: key === 'newest' ? null : key })}
          onNearEnd={list.more}
        />
      </ListView>
    </>
  );
}
