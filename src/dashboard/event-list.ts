import { useEffect, useRef, useState } from 'react';
import { useApi } from './api';
import { EventsDocument, NewEventsDocument, type EventFilter, type EventRowFragment } from './generated/graphql';
import { useLive } from './live';
import { usePagedList, type PagedList } from './paged-list';

/** New events are counted up to this number. */
export const MOST_NEW_EVENTS = 100;

/** A list of events, the newest first. `fresh`: the ids of matching events that came after it was loaded; the list stays. */
export function useEventList(filter: EventFilter): PagedList<EventRowFragment> & { fresh: ReadonlySet<string> } {
  const { client } = useApi();
  const question = JSON.stringify(filter);
  const asked = useRef(question);
  useEffect(() => {
    asked.current = question;
  }, [question]);
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const list = usePagedList(question, async (after) => {
    const { data, error } = await client
      .query(EventsDocument, { filter, after }, { requestPolicy: 'network-only' })
      .toPromise();
    if (after === null) setFresh(new Set());
    return { page: data?.events, error };
  });
  const { rows } = list;

  const note = (events: readonly { readonly id: string }[]): void =>
    setFresh((known) => {
      const have = new Set(rows.map(({ id }) => id));
      const all = [...known, ...events.map(({ id }) => id).filter((id) => !have.has(id))];
      return new Set(all.slice(0, MOST_NEW_EVENTS));
    });

  /** After a gap: the newest events that are not in the list came meanwhile. */
  async function catchUp(): Promise<void> {
    const { data } = await client
      .query(EventsDocument, { filter, after: null }, { requestPolicy: 'network-only' })
      .toPromise();
    if (data && asked.current === question) note(data.events.nodes);
  }

  useLive(
    NewEventsDocument,
    { filter },
    {
      data: ({ eventIngested }) => note([eventIngested]),
      open(again) {
        if (again) void catchUp();
      },
    },
  );
  return { ...list, fresh };
}
