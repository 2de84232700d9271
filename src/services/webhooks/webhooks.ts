import type { Reach } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import { uuidAt } from '../../domain/event-id.js';
import { readFeedCursor, writeFeedCursor } from '../../domain/feed-cursor.js';
import { wellFormed } from '../../domain/well-formed.js';
import { LONGEST_QUERY, LONGEST_URL, MOST_BODY, MOST_WEBHOOKS, OLD_SECRET_STAYS } from '../../domain/webhook.js';
import { AppError } from '../../errors.js';
import type { PrismaDatabase, PrismaQueryable } from '../../store/database.js';
import { lookForChanges } from '../../store/feed/read-changes.js';
import { addDelivery, type DeliveryRow } from '../../store/webhooks/deliveries.js';
import {
  addWebhook,
  changeWebhook,
  deleteWebhook,
  getSecrets,
  getWebhook,
  setSecrets,
  type WebhookRow,
} from '../../store/webhooks/webhooks.js';
import type { AuditAction } from '../../domain/audit.js';
import { audit, type Actor } from '../access/audit.js';
import { sinceOf, type FeedReader } from '../feed/read-feed.js';
import type { Deliver } from './deliver.js';
import { messageOf, newMessageId, secretName, signingSecrets } from './message.js';
import type { Outbound } from './outbound.js';
import { explain } from './run.js';
import { newSecret, showSecret, type SecretBox } from './sign.js';
import type { StoredQueries, StoredReader } from './stored-query.js';

/** What a caller gives of a webhook. Undefined or null: the default, or what it was. */
interface WebhookInput {
  readonly url?: string | null | undefined;
  readonly query?: string | null | undefined;
  readonly variables?: Record<string, unknown> | null | undefined;
  readonly name?: string | null | undefined;
  readonly enabled?: boolean | null | undefined;
  readonly after?: string | null | undefined;
}

/** What callers do with webhooks. Each function throws BAD_USER_INPUT, with the field that is wrong. */
export interface Webhooks {
  /** Makes a webhook and its secret. Throws TOO_MANY_WEBHOOKS, and for `after` INVALID_CURSOR and CURSOR_EXPIRED. */
  create(
    actor: Actor,
    input: WebhookInput & { readonly url: string; readonly query: string },
  ): Promise<{ webhook: WebhookRow; secret: string }>;
  /** Changes what is given. Throws NOT_FOUND, and for `after` INVALID_CURSOR and CURSOR_EXPIRED. */
  update(actor: Actor, id: string, input: WebhookInput): Promise<WebhookRow>;
  /** Makes a new secret. The old one signs too, for a day. Throws NOT_FOUND. */
  rotateSecret(actor: Actor, id: string): Promise<{ webhook: WebhookRow; secret: string }>;
  /** Throws NOT_FOUND. */
  remove(actor: Actor, id: string): Promise<void>;
  /** Sends a sample, and waits for the answer. Throws NOT_FOUND, and OVERLOADED if the project sends too much already. */
  test(reach: Reach, id: string): Promise<DeliveryRow>;
  /** What is wrong with a query; empty: nothing. */
  problems(reach: Reach, query: string, variables: Record<string, unknown> | null): Promise<readonly string[]>;
  /** Seconds from the oldest change that waits to now; 0 where none waits. */
  lag(reach: Reach, webhook: WebhookRow): Promise<number>;
}

const wrong = (field: string, message: string): AppError => new AppError('BAD_USER_INPUT', message, { field });

function checkName(name: string): string {
  const value = wellFormed(name.trim());
  if (value.length <= 100) return value;
  throw wrong('name', 'name must have at most 100 characters.');
}

/** The part of a URL that the audit log keeps: the rest may hold a secret. */
const originOf = (url: string): string => new URL(url).origin;

const notFound = (): AppError => new AppError('NOT_FOUND', 'The project has no webhook with this id.', { field: 'id' });

export function createWebhooks(deps: {
  database: PrismaDatabase;
  clock: Clock;
  feed: FeedReader;
  queries: StoredQueries;
  outbound: Outbound;
  secrets: SecretBox;
  deliver: Pick<Deliver, 'lookSoon' | 'takePlace'>;
}): Webhooks {
  const { database, clock, feed, queries, outbound, secrets, deliver } = deps;

  function checkUrl(url: string): string {
    const text = url.trim();
    if (text.length > LONGEST_URL) throw wrong('url', `url has more than ${LONGEST_URL} characters.`);
    const refusal = outbound.refusal(text);
    if (refusal !== null) throw wrong('url', refusal);
    return new URL(text).href;
  }

  /** Throws INVALID_CURSOR, and CURSOR_EXPIRED, if the feed cannot go on after the cursor. */
  async function checkCursor(reach: Reach, cursor: string): Promise<void> {
    const place = readFeedCursor(cursor);
    if (place) return feed.check(reach, place);
    const message = 'after is not a cursor of changes. Take one from changeCursor or from a change.';
    throw new AppError('INVALID_CURSOR', message, { field: 'after' });
  }

  /** When the oldest change after the cursor was stored; null if there is none. Changes that are not asked for count too. */
  async function oldestAfter({ projectId }: Reach, cursor: string): Promise<Date | null> {
    const place = readFeedCursor(cursor);
    if (!place) return null;
    const [found] = await lookForChanges(database, [{ ...place, projectId, since: sinceOf(place, clock.now()) }]);
    return found?.waitingSince ?? null;
  }

  /** A reader for a query that has no webhook yet: it takes turns for the whole project. */
  const readerOf = (reach: Reach): StoredReader => ({ reach, name: `webhooks of ${reach.projectId}`, rateLimit: null });

  async function problems(
    reach: Reach,
    query: string,
    variables: Record<string, unknown> | null,
  ): Promise<readonly string[]> {
    if (query.length > LONGEST_QUERY) return [`query has more than ${LONGEST_QUERY} characters.`];
    if (JSON.stringify(variables ?? {}).length > LONGEST_QUERY)
      return [`variables have more than ${LONGEST_QUERY} characters as JSON.`];
    return queries.problems(readerOf(reach), { query, variables: variables ?? {} });
  }

  async function checkQuery(reach: Reach, query: string, variables: Record<string, unknown>): Promise<void> {
    const [first] = await problems(reach, query, variables);
    if (first !== undefined) throw wrong('query', first);
  }

  async function found(reach: Reach, id: string): Promise<WebhookRow> {
    const webhook = await getWebhook(database, reach, id);
    if (webhook) return webhook;
    throw notFound();
  }

  /** Makes a change, and its entry in the audit log. */
  const audited = <Result>(
    actor: Actor,
    action: AuditAction,
    details: Record<string, unknown>,
    change: (tx: PrismaQueryable) => Promise<Result>,
  ): Promise<Result> =>
    database.prismaTransaction(async (tx) => {
      const result = await change(tx);
      await audit(tx, actor, clock.now(), action, details);
      return result;
    });

  return {
    problems,
    async create(actor, { url: given, query, variables, name, after }) {
      const { reach } = actor;
      const url = checkUrl(given);
      await checkQuery(reach, query, variables ?? {});
      if (after != null) await checkCursor(reach, after);
      const cursor = after ?? writeFeedCursor(await feed.now());
      const now = clock.now();
      const id = uuidAt(now);
      const secret = newSecret();
      const wanted = {
        id,
        url,
        query,
        variables: variables ?? {},
        name: checkName(name ?? ''),
        secret: secrets.close(secret, secretName(reach.projectId, id)),
        createdAt: now,
        cursor,
        dueAt: now,
      };
      const webhook = await audited(actor, 'WEBHOOK_CREATED', { webhook: id, url: originOf(url) }, async (tx) => {
        const added = await addWebhook(tx, reach, wanted);
        if (added === null) throw new AppError('NOT_FOUND', 'This project no longer exists.');
        if (added !== 'FULL') return added;
        throw new AppError(
          'TOO_MANY_WEBHOOKS',
          `The project has ${MOST_WEBHOOKS} webhooks, which is the most. Delete one that is not needed.`,
        );
      });
      deliver.lookSoon();
      return { webhook, secret: showSecret(secret) };
    },
    async update(actor, id, { url, query, variables, name, enabled, after }) {
      const { reach } = actor;
      const before = await found(reach, id);
      if (query != null || variables != null)
        await checkQuery(reach, query ?? before.query, variables ?? before.variables);
      if (after != null) await checkCursor(reach, after);
      const changes = {
        ...(url != null && { url: checkUrl(url) }),
        ...(query != null && { query }),
        ...(variables != null && { variables }),
        ...(name != null && { name: checkName(name) }),
        ...(enabled != null && { enabled }),
        ...(after != null && { cursor: after }),
      };
      const details = { webhook: id, changed: Object.keys(changes), ...(enabled != null && { enabled }) };
      const webhook = await audited(actor, 'WEBHOOK_UPDATED', details, async (tx) => {
        const changed = await changeWebhook(tx, reach, id, changes, clock.now());
        if (changed) return changed;
        throw notFound();
      });
      deliver.lookSoon();
      return webhook;
    },
    async rotateSecret(actor, id) {
      const { reach } = actor;
      const secret = newSecret();
      const name = secretName(reach.projectId, id);
      const webhook = await audited(actor, 'WEBHOOK_SECRET_ROTATED', { webhook: id }, async (tx) => {
        const before = await getSecrets(tx, reach, id);
        // A secret that the server cannot read cannot sign either.
        const readable = before && secrets.open(before.secret, name) ? before.secret : null;
        const stored = {
          secret: secrets.close(secret, name),
          secretBefore: readable,
          secretBeforeUntil: readable && new Date(clock.now().getTime() + OLD_SECRET_STAYS),
        };
        if (!(await setSecrets(tx, reach, id, stored))) throw notFound();
        return (await getWebhook(tx, reach, id))!;
      });
      return { webhook, secret: showSecret(secret) };
    },
    async remove(actor, id) {
      await audited(actor, 'WEBHOOK_DELETED', { webhook: id }, async (tx) => {
        if (!(await deleteWebhook(tx, actor.reach, id))) throw notFound();
      });
    },
    async test(reach, id) {
      const webhook = await found(reach, id);
      const stored = await getSecrets(database, reach, id);
      const now = clock.now();
      const keys = stored ? signingSecrets(secrets, secretName(reach.projectId, id), stored, now) : [];
      if (keys.length === 0)
        throw wrong(
          'id',
          'The server cannot read the secret of this webhook. Make a new one with rotateWebhookSecret.',
        );
      const leave = deliver.takePlace(reach.projectId);
      try {
        const span = { after: null, until: null, most: 1, bytes: MOST_BODY };
        const reader = { reach, name: id, rateLimit: null };
        const made = await queries.make(reader, webhook, span, AbortSignal.timeout(SAMPLE_WITHIN));
        if ('refused' in made && made.refused === 'QUERY_INVALID') throw wrong('id', made.why);
        const results = 'refused' in made ? [] : made.results;
        const since = ('refused' in made ? null : made.since) ?? now;
        const messageId = newMessageId(now);
        const begun = performance.now();
        const message = messageOf({ id: messageId, type: 'test', url: webhook.url, results }, { since, now }, keys);
        const answer = await outbound.post(message, NEVER);
        return await addDelivery(database, reach, id, {
          id: uuidAt(now),
          at: now,
          messageId,
          attempt: 1,
          status: answer.kind === 'ANSWERED' ? answer.status : null,
          error: explain(answer),
          milliseconds: performance.now() - begun,
          changes: results.length,
        });
      } finally {
        leave();
      }
    },
    async lag(reach, { waitingSince, cursor }) {
      const since = waitingSince ?? (await oldestAfter(reach, cursor));
      return since === null ? 0 : Math.max(0, (clock.now().getTime() - since.getTime()) / 1_000);
    },
  };
}

/** How long a sample may take to find. A query that asks for rare changes gets an empty one. Milliseconds. */
const SAMPLE_WITHIN = 3_000;
/** A test is not broken off: its caller waits for it, and it ends by itself. */
const NEVER = new AbortController().signal;
