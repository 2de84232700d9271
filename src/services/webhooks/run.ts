import type { Clock } from '../../domain/clock.js';
import { uuidAt } from '../../domain/event-id.js';
import {
  MAKE_WITHIN,
  MOST_BODY,
  MOST_RESULTS,
  readRetryAfter,
  LEASE,
  waitAfter,
  waitAfterTrouble,
  type DisabledReason,
} from '../../domain/webhook.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import {
  makeDue,
  prepareMessage,
  settleWebhook,
  type Attempt,
  type LeasedWebhook,
  type Outcome,
} from '../../store/webhooks/leases.js';
import { auditBeside } from '../access/audit.js';
import { messageOf, newMessageId, secretName, signingSecrets } from './message.js';
import type { Outbound, OutboundAnswer } from './outbound.js';
import type { SecretBox } from './sign.js';
import type { Made, Refused, StoredQueries } from './stored-query.js';

/** Messages that a run sends in a row. Then the webhook waits again for a place, so that others get theirs. */
const IN_A_ROW = 10;

/**
 * Delivers what waits for a webhook that this server has taken. Resolves when nothing waits any more, when it must wait, or
 * when others shall have the place. Rejects only if the database cannot be asked; then another run goes on when the lease has
 * ended. `isStale` says whether the project has changed since the call of `readFrom`.
 */
export type RunWebhook = (
  webhook: LeasedWebhook,
  news: { readFrom: () => void; isStale: () => boolean },
  signal: AbortSignal,
) => Promise<void>;

/** Where a run stands: the webhook as it is now. */
type State = Pick<LeasedWebhook, 'cursor' | 'messageId' | 'messageUntil' | 'waitingSince' | 'failures' | 'troubles'>;

export function createRunWebhook(deps: {
  database: Database;
  clock: Clock;
  observe: Observer;
  queries: StoredQueries;
  outbound: Outbound;
  secrets: SecretBox;
}): RunWebhook {
  const { database, clock, observe, queries, outbound, secrets } = deps;
  const later = (milliseconds: number): Date => new Date(clock.now().getTime() + milliseconds);

  /** Writes down how a step ended. False: the webhook was changed or taken meanwhile. */
  async function settle(webhook: LeasedWebhook, outcome: Outcome, attempt: Attempt | null): Promise<boolean> {
    const { projectId, id } = webhook;
    const { disabled } = outcome;
    const reach = { projectId, userIds: null };
    const isOurs = await database.transaction(async (tx) => {
      if (!(await settleWebhook(tx, reach, webhook, outcome, attempt))) return false;
      if (disabled) {
        const details = { webhook: id, reason: disabled };
        await auditBeside(tx, { reach, keyId: null }, clock.now(), 'WEBHOOK_DISABLED', details);
      }
      return true;
    });
    if (!isOurs) await makeDue(database, reach, webhook, clock.now());
    else if (disabled) observe({ kind: 'webhook.disabled', project: projectId, webhook: id, reason: disabled });
    return isOurs;
  }

  const attemptOf = (
    { failures, messageId }: State,
    result: Pick<Attempt, 'at' | 'status' | 'error' | 'milliseconds' | 'changes'>,
  ): Attempt => ({ id: uuidAt(result.at), messageId: messageId ?? '', attempt: failures + 1, ...result });

  /** The server itself failed. That is kept as an attempt, so that the owner sees why nothing comes. It counts against nobody. */
  async function postpone(webhook: LeasedWebhook, state: State, why: string, wait: number | null): Promise<void> {
    const troubles = state.troubles + 1;
    const attempt = attemptOf(state, { at: clock.now(), status: null, error: why, milliseconds: 0, changes: 0 });
    const next = later(wait ?? waitAfterTrouble(troubles));
    await settle(webhook, { ...unchanged(state), troubles, next }, attempt);
  }

  const unchanged = ({ failures, troubles }: State) =>
    ({ cursor: null, failures, troubles, goesOn: false, disabled: null }) as const;

  /** Gives the webhook to another server, because this one is closing. */
  const release = (webhook: LeasedWebhook, state: State): Promise<unknown> =>
    settle(webhook, { ...unchanged(state), next: clock.now() }, null);

  function stop(
    webhook: LeasedWebhook,
    state: State,
    disabled: DisabledReason,
    attempt: Attempt | null,
  ): Promise<unknown> {
    return settle(webhook, { ...unchanged(state), next: null, disabled }, attempt);
  }

  /** Makes the results of the next message, or of the message under way. Null: the server could not, and has postponed it. */
  async function make(webhook: LeasedWebhook, state: State, closing: AbortSignal): Promise<Made | Refused | null> {
    const { projectId, id, rateLimit } = webhook;
    const reader = { reach: { projectId, userIds: null }, name: id, rateLimit };
    const span = { after: state.cursor, until: state.messageUntil, most: MOST_RESULTS, bytes: MOST_BODY };
    const signal = AbortSignal.any([closing, AbortSignal.timeout(MAKE_WITHIN)]);
    try {
      return await queries.make(reader, webhook, span, signal);
    } catch (error) {
      if (closing.aborted) {
        await release(webhook, state);
        return null;
      }
      const known = error instanceof AppError ? error : null;
      const { retryAfter } = known?.details ?? {};
      if (!known) observe({ kind: 'task.failed', task: 'webhook', error });
      const why = known ? `${known.code}: ${known.message}` : 'INTERNAL: the server has failed; its log says why.';
      await postpone(webhook, state, why, retryAfter === undefined ? null : retryAfter * 1_000);
      return null;
    }
  }

  /** Writes down what came of sending a message. Returns whether the run may go on with the next one. */
  async function conclude(
    webhook: LeasedWebhook,
    state: State,
    { made, answer, at, milliseconds }: { made: Made; answer: OutboundAnswer; at: Date; milliseconds: number },
    next: Pick<Outcome, 'goesOn' | 'next'>,
    isClosing: boolean,
  ): Promise<boolean> {
    const changes = made.results.length;
    const status = answer.kind === 'ANSWERED' ? answer.status : null;
    const taken = status !== null && status >= 200 && status < 300;
    observe({
      kind: 'webhook.sent',
      outcome: taken ? 'taken' : answer.kind.toLowerCase(),
      changes,
      milliseconds,
      ...(answer.kind !== 'ANSWERED' && answer.detail !== undefined && { detail: answer.detail }),
    });
    if (answer.kind === 'TROUBLE') {
      await (isClosing ? release(webhook, state) : postpone(webhook, state, answer.why, null));
      return false;
    }
    const error = explain(answer);
    const attempt = attemptOf(state, { at, status, error, milliseconds, changes });
    if (taken) {
      const outcome = { cursor: made.cursor, failures: 0, troubles: 0, disabled: null, ...next };
      return (await settle(webhook, outcome, attempt)) && next.goesOn;
    }
    const failures = state.failures + 1;
    const retryAfter = answer.kind === 'ANSWERED' ? readRetryAfter(answer.retryAfter, clock.now()) : null;
    const wait = waitAfter(failures, retryAfter);
    if (status === 410) await stop(webhook, { ...state, failures }, 'GONE', attempt);
    else if (wait === null) await stop(webhook, { ...state, failures }, 'FAILED', attempt);
    else await settle(webhook, { ...unchanged(state), failures, troubles: 0, next: later(wait) }, attempt);
    return false;
  }

  return async function run(webhook, { readFrom, isStale }, signal) {
    const { projectId, id } = webhook;
    let state: State = webhook;
    for (let sent = 0; ; sent += 1) {
      const keys = signingSecrets(secrets, secretName(projectId, id), webhook, clock.now());
      if (keys.length === 0) {
        const why =
          'The server cannot read the secret, because TOKEN_SECRET has changed. Make a new one with rotateWebhookSecret.';
        await postpone(webhook, state, why, waitAfterTrouble(Infinity));
        return;
      }
      readFrom();
      const made = await make(webhook, state, signal);
      if (!made) return;
      if (signal.aborted) {
        await release(webhook, state);
        return;
      }
      if ('refused' in made) {
        await stop(
          webhook,
          state,
          made.refused,
          attemptOf(state, { at: clock.now(), status: null, error: made.why, milliseconds: 0, changes: 0 }),
        );
        return;
      }
      const { results, cursor, since } = made;
      /** When to look again if there is nothing left: at once where the project has changed meanwhile. */
      const isMore = (): boolean => made.next === 'MORE' || isStale();
      const next = (): Outcome['next'] => (made.next === 'MORE' || isStale() ? clock.now() : made.next);
      if (results.length === 0) {
        // A place in the feed that moved over changes that are not asked for.
        await settle(webhook, { ...unchanged(state), cursor, troubles: 0, failures: 0, next: next() }, null);
        return;
      }
      const at = clock.now();
      const message = {
        messageId: state.messageId ?? newMessageId(at),
        until: cursor,
        since: state.waitingSince ?? since!,
      };
      if (!(await prepareMessage(database, { projectId }, webhook, message, at))) {
        await makeDue(database, { projectId }, webhook, clock.now());
        return;
      }
      state = { ...state, messageId: message.messageId, messageUntil: cursor, waitingSince: message.since };
      const begun = performance.now();
      const answer = await outbound.post(
        messageOf(
          { id: message.messageId, type: 'changes', url: webhook.url, results },
          { since: message.since, now: at },
          keys,
        ),
        signal,
      );
      const milliseconds = performance.now() - begun;
      const goesOn = isMore() && sent + 1 < IN_A_ROW && !signal.aborted;
      const then = { goesOn, next: goesOn ? later(LEASE) : next() };
      if (!(await conclude(webhook, state, { made, answer, at, milliseconds }, then, signal.aborted))) return;
      state = { cursor, messageId: null, messageUntil: null, waitingSince: null, failures: 0, troubles: 0 };
    }
  };
}

/** Why a message was not taken. Null: it was, or the status says enough. */
export function explain(answer: OutboundAnswer): string | null {
  if (answer.kind !== 'ANSWERED') return answer.why;
  const { status } = answer;
  if (status >= 300 && status < 400) return 'The receiver redirects. Redirects are not followed: use the new URL.';
  if (status === 101) return 'The receiver changed the protocol.';
  return null;
}
