import { uuidAt } from '../../domain/event-id.js';
import { signedHeaders, type SecretBox } from './sign.js';
import type { OutboundMessage } from './outbound.js';
import type { StoredSecrets } from '../../store/webhooks/webhooks.js';

/** A new `webhook-id`. Those of later messages sort after it. */
export const newMessageId = (now: Date): string => `msg_${uuidAt(now)}`;

/** The name for which the secrets of a webhook are encrypted. */
export const secretName = (projectId: string, id: string): string => `${projectId} ${id}`;

/** The secrets that sign at `now`, the newest first. Empty: the server cannot read the newest. */
export function signingSecrets(
  box: SecretBox,
  name: string,
  { secret, secretBefore, secretBeforeUntil }: StoredSecrets,
  now: Date,
): Buffer[] {
  const newest = box.open(secret, name);
  if (!newest) return [];
  const before = secretBefore && secretBeforeUntil && secretBeforeUntil > now ? box.open(secretBefore, name) : null;
  return before ? [newest, before] : [newest];
}

/**
 * The message with these results. `type` is `changes`, or `test` for a sample; `timestamp` is when the first of the changes was
 * stored. It is signed for `now`.
 */
export function messageOf(
  { id, type, url, results }: { id: string; type: 'changes' | 'test'; url: string; results: readonly string[] },
  { since, now }: { since: Date; now: Date },
  secrets: readonly Buffer[],
): OutboundMessage {
  const head = JSON.stringify({ type, timestamp: since.toISOString() }).slice(0, -1);
  const body = Buffer.from(`${head},"data":[${results.join(',')}]}`);
  return {
    url,
    headers: {
      'Content-Type': 'application/json',
      'User-Agent': 'Footsteps',
      ...signedHeaders({ id, at: now, body }, secrets),
    },
    body,
  };
}
