import { useState } from 'react';
import { useApi } from './api';
import { EventsDocument, NewEventsDocument, type EventFilter, type EventRowFragment } from './generated/graphql';
import { useLive } from './live';
import { usePagedList, type PagedList } from './paged-list';

/** New events are counted up to this number. */
export const MOST_NEW_EVENTS = 100;

/** A list of events, the newest first. `fresh`: the ids of matching events that came after it was loaded; the list stays. */
export function useEventList(filter: EventFilter): PagedList<EventRowFragment> & { fresh: ReadonlySet<string> } {
  const { client } = useApi();
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const list = usePagedList(JSON.stringify(filter), async (after) => {
    const { data, error } = await client
      .query(EventsDocument, { filter, after }, { requestPolicy: 'network-only' })
      .toPromise();
    if (after === null) setFresh(new Set());
    return { page: data?.events, error };
  });
  const { rows } = list;

  useLive(
    NewEventsDocument,
    { filter },
    {
      data({ eventIngested: { id } }) {
        setFresh((known) =>
          known.size >= MOST_NEW_EVENTS || rows.some((row) => row.id === id) ? known : new Set([...known, id]),
        );
      },
    },
  );
  return { ...list, fresh };
}
