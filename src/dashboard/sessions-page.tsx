import { useEffect, useMemo, useState, type ReactNode } from 'react';
import { Link, useLocation } from 'wouter';
import { navigate, useSearch } from 'wouter/use-browser-location';
import { count, formatMoment, formatNumber } from './format';
import { Chip, FilterPanel } from './filter-panel';
import { Icon } from './icons';
import { Empty, Loading, PageHead, Problem } from './parts';
import { END_REASONS, LISTS, ORDERS, readFilter, readOrder, withParams } from './session-filter';
import { MOST_NEW, useSessionList } from './session-list';
import { SessionTable } from './session-table';

/** Typing is taken for a search when it pauses so long. Milliseconds. */
const PAUSE = 200;

/** The words of a filter for people, each with what takes it out. */
function chipsOf(params: URLSearchParams): { text: string; remove: Record<string, null | readonly string[]> }[] {
  const moment = (name: string): string => formatMoment(new Date(params.get(name)!), Date.now());
  const single: Record<string, () => string> = {
    errors: () => (params.get('errors') === 'yes' ? 'With errors' : 'Without errors'),
    bot: () => (params.get('bot') === 'yes' ? 'Bots alone' : 'People alone'),
    from: () => `Started from ${moment('from')}`,
    to: () => `Started before ${moment('to')}`,
    activeFrom: () => `There from ${moment('activeFrom')}`,
    activeTo: () => `There until ${moment('activeTo')}`,
    min: () => `At least ${params.get('min')} s`,
    max: () => `At most ${params.get('max')} s`,
    data: () => `Data ${params.get('data')}`,
  };
  const without = (param: string, value: string): Record<string, readonly string[]> => ({
    [param]: params.getAll(param).filter((one) => one !== value),
  });
  return [
    ...LISTS.flatMap(({ param, name }) =>
      params.getAll(param).map((value) => ({ text: `${name}: ${value}`, remove: without(param, value) })),
    ),
    ...params.getAll('end').map((value) => ({
      text: END_REASONS[value as keyof typeof END_REASONS] ?? value,
      remove: without('end', value),
    })),
    ...Object.entries(single)
      .filter(([name]) => params.get(name))
      .map(([name, text]) => ({ text: text(), remove: { [name]: null } })),
  ];
}

function SearchBox({ value, onChange }: { value: string; onChange: (text: string) => void }): ReactNode {
  const [text, setText] = useState(value);
  useEffect(() => {
    if (text.trim() === value) return undefined;
    const timer = window.setTimeout(() => onChange(text.trim()), PAUSE);
    return () => window.clearTimeout(timer);
  }, [text, value, onChange]);
  return (
    <div className="search-box">
      <Icon name="search" size={17} />
      <input
        type="search"
        aria-label="Search for a user or a session key"
        placeholder="Search users…"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
    </div>
  );
}

/** The part that depends on the filter as a whole: made anew with each. */
function useAddress(): { params: URLSearchParams; change: (changes: Parameters<typeof withParams>[1]) => void } {
  const search = useSearch();
  const params = useMemo(() => new URLSearchParams(search), [search]);
  return {
    params,
    change: (changes) => navigate(withParams(new URLSearchParams(window.location.search), changes), { replace: true }),
  };
}

const STATUSES = [
  { value: '', name: 'All' },
  { value: 'ACTIVE', name: 'Active' },
  { value: 'ENDED', name: 'Ended' },
];

/** Every session, narrowed and ordered as the address says. */
export function SessionsPage(): ReactNode {
  const { params, change } = useAddress();
  const [, go] = useLocation();
  const [isOpen, setOpen] = useState(false);
  const filter = readFilter(params);
  const list = useSessionList(filter, readOrder(params));
  const chips = chipsOf(params);
  const sort = ORDERS.find(({ key }) => key === params.get('sort'))?.key ?? 'newest';
  const search = useMemo(
    () => (q: string) => navigate(withParams(new URLSearchParams(window.location.search), { q }), { replace: true }),
    [],
  );

  function showNew(): void {
    window.scrollTo({ top: 0 });
    if (sort === 'newest') list.reload();
    else change({ sort: null });
  }

  return (
    <>
      <PageHead
        title={
          <>
            Sessions{' '}
            {list.total !== null && (
              <span className="title-count" title="Sessions that match">
                {formatNumber(list.total)}
              </span>
            )}
          </>
        }
      />
      <div className="toolbar">
        <SearchBox value={params.get('q') ?? ''} onChange={search} />
        <div className="segments" role="group" aria-label="Status">
          {STATUSES.map(({ value, name }) => (
            <button
              key={value}
              type="button"
              aria-pressed={(params.get('status') ?? '') === value}
              onClick={() => change({ status: value })}
            >
              {name}
            </button>
          ))}
        </div>
        <button
          type="button"
          className="button"
          aria-pressed={params.get('errors') === 'yes'}
          onClick={() => change({ errors: params.get('errors') === 'yes' ? null : 'yes' })}
        >
          <Icon name="alert" size={16} /> With errors
        </button>
        <button type="button" className="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="filter" size={16} /> Filters{chips.length > 0 && <b className="tally">{chips.length}</b>}
        </button>
        <select
          aria-label="Order"
          className="sort"
          value={sort}
          onChange={(event) => change({ sort: event.target.value === 'newest' ? null : event.target.value })}
        >
          {ORDERS.map(({ key, name }) => (
            <option key={key} value={key}>
              {name}
            </option>
          ))}
        </select>
      </div>
      {isOpen && <FilterPanel params={params} rows={list.rows} onChange={change} />}
      {chips.length > 0 && (
        <div className="chips active-chips">
          {chips.map(({ text, remove }) => (
            <Chip key={text} text={text} onRemove={() => change(remove)} />
          ))}
          <button type="button" className="button small quiet" onClick={() => go('/sessions')}>
            Clear all
          </button>
        </div>
      )}
      <div className="announce" aria-live="polite">
        {list.fresh > 0 && (
          <button type="button" className="button primary fresh" onClick={showNew}>
            <Icon name="up" size={16} />
            {list.fresh >= MOST_NEW ? `${MOST_NEW} or more new sessions` : count(list.fresh, 'new session')}
          </button>
        )}
      </div>
      {list.error && <Problem error={list.error} retry={list.reload} />}
      {!list.error && !list.loading && list.rows.length === 0 && (
        <Empty title="No session matches">
          {params.size > 0 ? <Link href="/sessions">Show all sessions</Link> : 'Sessions appear here as events arrive.'}
        </Empty>
      )}
      {list.loading && list.rows.length === 0 && <Loading lines={10} label="Loading sessions" />}
      {list.rows.length > 0 && (
        <div className={list.loading ? 'is-stale' : ''}>
          <SessionTable
            rows={list.rows}
            total={list.total}
            sort={sort}
            onSort={(key) => change({ sort: key === 'newest' ? null : key })}
            onNearEnd={list.more}
          />
          <p className="list-end muted">
            {list.hasMore ? 'Loading more…' : list.rows.length > 20 ? 'That is all of them.' : ''}
          </p>
        </div>
      )}
    </>
  );
}
