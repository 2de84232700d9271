import type { Reach } from '../../domain/access.js';
import { MOST_WEBHOOKS, type DisabledReason } from '../../domain/webhook.js';
import type { PrismaQueryable } from '../database.js';
import type { Webhook } from '../generated/prisma/client.js';
import { lockProject } from '../lock-project.js';

const HIDDEN = { secret: true, secretBefore: true, secretBeforeUntil: true } as const;

/** A webhook as its owner sees it: without its secrets. `variables` is a JSON object. */
export type WebhookRow = Omit<Webhook, keyof typeof HIDDEN | 'variables'> & {
  readonly variables: Record<string, unknown>;
};

/** The type of `variables` is what addWebhook stores. */
const rowOf = <Row extends Pick<Webhook, 'variables'>>(row: Row) =>
  row as Row & { readonly variables: Record<string, unknown> };

/** All webhooks of the project, the oldest first: at most MOST_WEBHOOKS. */
export async function listWebhooks(database: PrismaQueryable, { projectId }: Reach): Promise<WebhookRow[]> {
  const rows = await database.prisma('webhooks.list', ({ webhook }) =>
    webhook.findMany({ where: { projectId }, omit: HIDDEN, orderBy: { id: 'asc' }, take: MOST_WEBHOOKS }),
  );
  return rows.map(rowOf);
}

/** Null if the project has no such webhook. */
export async function getWebhook(
  database: PrismaQueryable,
  { projectId }: Reach,
  id: string,
): Promise<WebhookRow | null> {
  const row = await database.prisma('webhooks.get', ({ webhook }) =>
    webhook.findUnique({ where: { projectId_id: { projectId, id } }, omit: HIDDEN }),
  );
  return row && rowOf(row);
}

/** The encrypted secrets of a webhook. */
export interface StoredSecrets {
  readonly secret: Uint8Array;
  readonly secretBefore: Uint8Array | null;
  readonly secretBeforeUntil: Date | null;
}

/** Null if the project has no such webhook. */
export const getSecrets = (
  database: PrismaQueryable,
  { projectId }: Reach,
  id: string,
): Promise<StoredSecrets | null> =>
  database.prisma('webhooks.secrets', ({ webhook }) =>
    webhook.findUnique({ where: { projectId_id: { projectId, id } }, select: HIDDEN }),
  );

/**
 * Adds a webhook. Returns FULL if the project has MOST_WEBHOOKS, null if it does not exist. Locks the project's row first: of
 * two calls at once, the second counts the webhook of the first.
 */
export async function addWebhook(
  tx: PrismaQueryable,
  reach: Reach,
  webhook: Pick<Webhook, 'id' | 'name' | 'url' | 'query' | 'createdAt' | 'cursor' | 'dueAt'> & {
    readonly variables: Record<string, unknown>;
    readonly secret: Uint8Array;
  },
): Promise<WebhookRow | 'FULL' | null> {
  const { projectId } = reach;
  if (!(await lockProject(tx, reach))) return null;
  const count = await tx.prisma('webhooks.count', (models) => models.webhook.count({ where: { projectId } }));
  if (count >= MOST_WEBHOOKS) return 'FULL';
  const { variables, secret, ...others } = webhook;
  const data = { ...others, projectId, variables: variables as object, secret: new Uint8Array(secret) };
  return rowOf(await tx.prisma('webhooks.add', (models) => models.webhook.create({ data, omit: HIDDEN })));
}

/** What a caller changes of a webhook. Undefined: it stays. */
export interface WebhookChanges {
  readonly name?: string;
  readonly url?: string;
  readonly query?: string;
  readonly variables?: Record<string, unknown>;
  readonly cursor?: string;
  readonly enabled?: boolean;
}

/**
 * Changes a webhook and returns it; null if the project has no such webhook. If more than the name changes, it begins anew:
 * its failures are forgotten, and it is looked at now. The run that has it loses its lease, so it cannot write over the change;
 * the next run begins when that lease would have ended, or as soon as that run is over (leases.ts, makeDue). A message
 * under way stays the same message only with the same query and cursor: else a repeat could hold what a receiver that knows
 * its id would pass over.
 */
export async function changeWebhook(
  tx: PrismaQueryable,
  { projectId }: Reach,
  id: string,
  { name, enabled, variables, ...changes }: WebhookChanges,
  now: Date,
): Promise<WebhookRow | null> {
  // The lock orders this change and the end of a run.
  const [held] = await tx.prisma(
    'webhooks.lock',
    (models) =>
      models.$queryRaw<
        { running: string | null }[]
      >`SELECT CASE WHEN due_at > ${now} THEN coalesce(lease, revoked_lease) END AS running FROM webhooks WHERE project_id = ${projectId}::uuid AND id = ${id}::uuid FOR UPDATE`,
  );
  if (!held) return null;
  const isOther = changes.query !== undefined || changes.cursor !== undefined || variables !== undefined;
  const reason: DisabledReason = 'REQUESTED';
  const data = {
    ...(name !== undefined && { name }),
    ...(isOther || changes.url !== undefined || enabled !== undefined
      ? {
          ...changes,
          ...(variables && { variables: variables as object }),
          ...(isOther && { messageId: null, messageUntil: null, waitingSince: null }),
          ...(enabled !== undefined && { enabled, disabledReason: enabled ? null : reason }),
          failures: 0,
          troubles: 0,
          lease: null,
          revokedLease: held.running,
          ...(held.running === null && { dueAt: now }),
        }
      : {}),
  };
  return rowOf(
    await tx.prisma('webhooks.change', ({ webhook }) =>
      webhook.update({ where: { projectId_id: { projectId, id } }, data, omit: HIDDEN }),
    ),
  );
}

/** Sets the secrets of a webhook, encrypted. False: the project has no such webhook. */
export async function setSecrets(
  tx: PrismaQueryable,
  { projectId }: Reach,
  id: string,
  { secret, secretBefore, secretBeforeUntil }: StoredSecrets,
): Promise<boolean> {
  const data = {
    secret: new Uint8Array(secret),
    secretBefore: secretBefore && new Uint8Array(secretBefore),
    secretBeforeUntil,
  };
  const { count } = await tx.prisma('webhooks.setSecrets', ({ webhook }) =>
    webhook.updateMany({ where: { projectId, id }, data }),
  );
  return count > 0;
}

/** Deletes a webhook. False: the project has no such webhook. Its deliveries stay for their time; nothing lists them. */
export async function deleteWebhook(tx: PrismaQueryable, { projectId }: Reach, id: string): Promise<boolean> {
  const { count } = await tx.prisma('webhooks.delete', ({ webhook }) =>
    webhook.deleteMany({ where: { projectId, id } }),
  );
  return count > 0;
}
