import { useQuery } from 'urql';
import { useNow } from './clock';
import type { Offered } from './conditions';
import { EventValuesDocument, SessionValuesDocument } from './generated/graphql';
import { fetchLater } from './turns';

const HOUR = 3_600_000;
/** Counting them can take seconds on a big project. */
const CONTEXT = { fetch: fetchLater };
/** The values of so long back are offered. Milliseconds. */
const BACK = 30 * 24 * HOUR;

const isText = (value: string | null | undefined): value is string => typeof value === 'string';

/** The most frequent values of the last 30 days, at most 50. They are read when `isOn` is true for the first time. */
export function useSuggestions(offered: Offered | null, isOn: boolean): readonly string[] {
  const range = { from: new Date(useNow(HOUR) - BACK).toISOString() };
  const ofSessions = offered && 'sessions' in offered ? offered.sessions : null;
  const ofEvents = offered && 'events' in offered ? offered.events : null;
  const [sessions] = useQuery({
    query: SessionValuesDocument,
    variables: { by: ofSessions ?? 'BROWSER', filter: { startedAt: range } },
    pause: !isOn || ofSessions === null,
    requestPolicy: 'cache-first',
    context: CONTEXT,
  });
  const [events] = useQuery({
    query: EventValuesDocument,
    variables: { by: ofEvents ?? 'TYPE', filter: { occurredAt: range } },
    pause: !isOn || ofEvents === null,
    requestPolicy: 'cache-first',
    context: CONTEXT,
  });
  const groups = sessions.data?.sessionBreakdown.groups ?? events.data?.eventBreakdown.groups ?? [];
  return groups.map(({ value }) => value).filter(isText);
}
