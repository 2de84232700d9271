/** Webhooks: their limits, and when a delivery is tried again. Times are milliseconds. */

/** Why a webhook delivers nothing. */
export const DISABLED_REASON = {
  REQUESTED: 'updateWebhook(enabled: false) stopped it. updateWebhook(enabled: true) starts it again where it stopped.',
  GONE: 'The receiver answered 410 Gone. Correct the URL if it has moved, then updateWebhook(enabled: true).',
  FAILED:
    'The receiver took nothing for three days. Repair it, then updateWebhook(enabled: true): the webhook goes on where it stopped, if the feed still has these changes.',
  CURSOR_EXPIRED:
    'The feed no longer has the changes after the cursor: they are older than it keeps, or the database was restored or replaced. Read what you need with queries, then updateWebhook(after: …, enabled: true) with the value of changeCursor.',
  QUERY_INVALID:
    'This version of the server does not accept the query any more. updateWebhook(query: …, enabled: true) with a valid one goes on where it stopped.',
} as const;

export type DisabledReason = keyof typeof DISABLED_REASON;

/** The most webhooks of a project. Each may have a delivery under way, and each is looked at when the project changes. */
export const MOST_WEBHOOKS = 20;
/** Characters. Longer URLs are refused by common servers. */
export const LONGEST_URL = 2_048;
/** Characters of a query, and of its variables as JSON. Each server parses it, and keeps it while it is used. */
export const LONGEST_QUERY = 16_384;

/** The most results in one message. */
export const MOST_RESULTS = 100;
/**
 * A message gets no further result when it has this many bytes. Many receivers refuse more than 1 MiB by default. A single
 * result that is larger is sent alone.
 */
export const MOST_BODY = 1_048_576;
/** How long a receiver may take for its answer, from the look-up of its name to the last byte of its head. */
export const ANSWER_WITHIN = 10_000;
/** How long the results of a message may take to make. What is ready then is sent. */
export const MAKE_WITHIN = 8_000;
/**
 * How long a server has a webhook to itself. It must be longer than to make a message or to send it; the lease is renewed in
 * between. If the server dies, another one begins so long after, and a look later: within 30 s by far.
 */
export const LEASE = 15_000;
/** How long the secret before a rotation still signs. */
export const OLD_SECRET_STAYS = 86_400_000;
/**
 * How long a webhook that waits keeps its place in the feed. Then it reads on, although there is nothing, and gets the place of
 * now. So its place never gets older than the feed of its project, which may go back one day only.
 */
export const PLACE_STAYS = 43_200_000;
/** How long deliveries are kept. */
export const DELIVERIES_STAY = 7 * 86_400_000;
/** The most deliveries that are kept of a webhook: one a minute for 7 days. A busy webhook keeps its latest. */
export const MOST_DELIVERIES = 10_080;

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** The waits after the first failures. Then it is tried each hour. */
const WAITS = [5_000, 30_000, 120_000, 600_000];
/** The failures of one message after which the webhook is disabled: those of WAITS, and one an hour for 3 days. */
export const MOST_FAILURES = WAITS.length + (3 * DAY) / HOUR;

/**
 * How long to wait after the receiver has failed to take a message `failures` times. `retryAfter` is what its answer asks
 * for. It can make the wait longer, up to an hour: what asks for more is still asked each hour. Null: give up.
 */
export function waitAfter(failures: number, retryAfter: number | null): number | null {
  if (failures > MOST_FAILURES) return null;
  return Math.max(WAITS[failures - 1] ?? HOUR, Math.min(retryAfter ?? 0, HOUR));
}

/** The waits after trouble of the server itself. It says nothing of the receiver, and is never given up. */
const TROUBLE_WAITS = [1_000, 5_000, 30_000, 120_000];
export const waitAfterTrouble = (troubles: number): number => TROUBLE_WAITS[troubles - 1] ?? TROUBLE_WAITS.at(-1)!;

/**
 * The wait that a `Retry-After` header asks for (RFC 9110: seconds, or a date). Null: none, or one that cannot be read.
 */
export function readRetryAfter(header: string | undefined, now: Date): number | null {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // Without letters Date.parse reads texts like "-5" as years.
  const at = /[a-z]{3}/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - now.getTime());
}
