import type { Reach } from '../../domain/access.js';
import type { DisabledReason } from '../../domain/webhook.js';
import type { IdlePlace } from '../../store/webhooks/leases.js';

/** The query of a webhook: a subscription of `changes`, as its owner wrote it. */
export interface StoredQuery {
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** For whom a stored query is executed: the whole project, with the rights of READ, as a reader of its own. */
export interface StoredReader {
  readonly reach: Reach;
  /** The name under which it takes turns and pays: the id of the webhook. */
  readonly name: string;
  /** The project's limit in points a minute; null: the server's. */
  readonly rateLimit: number | null;
}

/** Which changes to make results of. */
export interface Span {
  /** Null: from the oldest change that is kept. */
  readonly after: string | null;
  /** The cursor of the last change; null: as far as there are changes. */
  readonly until: string | null;
  /** The most results. */
  readonly most: number;
  /** No further result is added when they have this many bytes. */
  readonly bytes: number;
}

/** What was made of a span. */
export interface Made {
  /** The results, as JSON: each is what a subscriber would have got. */
  readonly results: readonly string[];
  /** Everything up to here is in the results, or is not asked for. */
  readonly cursor: string;
  /** When the first of these changes was stored. Null: there are no results. */
  readonly since: Date | null;
  /** Whether more may wait after the cursor now. Else: the place from which on there was nothing. */
  readonly next: 'MORE' | IdlePlace;
}

/** The query cannot go on without its owner. */
export interface Refused {
  readonly refused: Extract<DisabledReason, 'CURSOR_EXPIRED' | 'QUERY_INVALID'>;
  /** A sentence for the owner. */
  readonly why: string;
}

/** Executes stored queries as the server executes subscriptions. src/transport/graphql/stored-queries.ts implements it. */
export interface StoredQueries {
  /** What is wrong with a query; empty: it can be stored. Reads nothing from the project, and is not charged. */
  problems(reader: StoredReader, stored: StoredQuery): Promise<readonly string[]>;
  /**
   * Makes results. Ends when the signal is aborted, with what is ready. Rejects with RATE_LIMITED, UNAVAILABLE and other errors
   * that say nothing of the query: then it can be made again later.
   */
  make(reader: StoredReader, stored: StoredQuery, span: Span, signal: AbortSignal): Promise<Made | Refused>;
}
