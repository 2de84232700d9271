import { asFootstepsError, FootstepsError } from './errors.js';
import type { ChangeFilter, ChangesSubscription } from './generated/operations.js';
import type { Live } from './live.js';
import type { Queries } from './query.js';

/** Something that was stored. `__typename` says what: EventChange, SessionChange, PresenceChange or ErasureChange. */
export type Change = ChangesSubscription['changes'];

export interface Changes {
  /**
   * Everything that is stored, in the order of the commits, none missing and none twice: after the cursor `after` (default:
   * now), then as it happens. Goes on by itself after a lost connection. To go on in another run, keep the `cursor` of the last
   * change that you have dealt with. `signal`, `return()` and the client's `close()` end it, also while it waits. Throws a
   * FootstepsError where it cannot go on, e.g. CURSOR_EXPIRED.
   */
  changes(options?: { after?: string; filter?: ChangeFilter; signal?: AbortSignal }): AsyncGenerator<Change, void>;
}

/** If so many changes wait to be read, the subscription ends, and begins again when they have been. */
const MOST_WAITING = 1_000;

const CHANGE_CURSOR = /* GraphQL */ `
  query ChangeCursor {
    changeCursor
  }
`;
const CHANGES = /* GraphQL */ `
  subscription Changes($after: String, $filter: ChangeFilter) {
    changes(after: $after, filter: $filter) {
      __typename
      cursor
      at
      ... on EventChange {
        event {
          id
          type
          source
          message
          occurredAt
          value
          tags
          referenceId
          version
          data
          user {
            identity
            name
          }
          session {
            id
          }
        }
      }
      ... on SessionChange {
        kind
        mergedId
        session {
          id
          key
          deviceId
          status
          startedAt
          lastActivityAt
          endedAt
          endReason
          duration
          eventCount
          errorCount
          user {
            identity
            name
          }
        }
      }
      ... on PresenceChange {
        identity
        status
        onlineSessions
        cause
        causedBy: session {
          id
        }
      }
      ... on ErasureChange {
        userId
      }
    }
  }
`;

/** `closing`: the client is closed. */
export function createChanges(live: Live, queries: Queries, closing: AbortSignal): Changes {
  async function* read(
    after: string | undefined,
    filter: ChangeFilter | undefined,
    over: AbortSignal,
    end: () => void,
  ) {
    let cursor = after;
    const waiting: Change[] = [];
    let failed: FootstepsError | undefined;
    let stop: (() => void) | undefined;
    let wake = (): void => {};
    over.addEventListener('abort', () => wake());

    const begin = (): (() => void) =>
      live.subscribe(CHANGES, () => ({ after: cursor, filter }), {
        next({ changes }: ChangesSubscription) {
          ({ cursor } = changes);
          waiting.push(changes);
          if (waiting.length >= MOST_WAITING) {
            stop?.();
            stop = undefined;
          }
          wake();
        },
        lost() {
          // It goes on after the last cursor.
        },
        failed(error) {
          failed = asFootstepsError(error);
          wake();
        },
      });

    try {
      // From here on nothing is missed, also if the connection is lost before the first change.
      if (!over.aborted)
        cursor ??= (await queries.query<{ changeCursor: string }>(CHANGE_CURSOR, {}, { signal: over })).changeCursor;
      while (!over.aborted) {
        const change = waiting.shift();
        if (change) {
          yield change;
          continue;
        }
        if (failed) throw failed;
        stop ??= begin();
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } catch (error) {
      // Then the first query was broken off.
      if (!over.aborted) throw error;
    } finally {
      stop?.();
      end();
    }
  }

  return {
    changes({ after, filter, signal } = {}) {
      const over = new AbortController();
      const end = (): void => {
        over.abort();
        for (const one of [closing, signal]) one?.removeEventListener('abort', end);
      };
      for (const one of [closing, signal]) {
        one?.addEventListener('abort', end);
        if (one?.aborted) end();
      }
      const changes: AsyncGenerator<Change, void> = read(after, filter, over.signal, end);
      // A generator ends only at its next step: while it waits, there is none.
      for (const way of ['return', 'throw'] as const) {
        const plain = changes[way].bind(changes) as (value?: any) => Promise<IteratorResult<Change, void>>;
        changes[way] = (value) => {
          end();
          return plain(value);
        };
      }
      return changes;
    },
  };
}
