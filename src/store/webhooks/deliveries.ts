import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { Database, PrismaQueryable } from '../database.js';
import type { WebhookDelivery } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import type { Attempt } from './leases.js';

export type DeliveryRow = WebhookDelivery;

/** The number of deleted rows, and whether another step may delete more. */
interface Removed {
  readonly count: number;
  readonly more: boolean;
}

/** A page of a webhook's attempts, the newest first. Reads a range of an index. */
export async function listDeliveries(
  database: PrismaQueryable,
  { projectId }: Reach,
  webhookId: string,
  page: Page<string>,
): Promise<Rows<DeliveryRow>> {
  const rows = await database.prisma('webhooks.deliveries', ({ webhookDelivery }) =>
    webhookDelivery.findMany({
      where: {
        projectId,
        webhookId,
        id: { ...(page.after && { lt: page.after }), ...(page.before && { gt: page.before }) },
      },
      orderBy: { id: page.backwards ? 'asc' : 'desc' },
      take: page.limit + 1,
    }),
  );
  return toPage(rows, page);
}

/** The number of a webhook's attempts. Called only when a client asks for the number. */
export const countDeliveries = (database: PrismaQueryable, { projectId }: Reach, webhookId: string): Promise<number> =>
  database.prisma('webhooks.countDeliveries', ({ webhookDelivery }) =>
    webhookDelivery.count({ where: { projectId, webhookId } }),
  );

/** Null if the project has no such attempt. */
export const getDelivery = (database: PrismaQueryable, { projectId }: Reach, id: string): Promise<DeliveryRow | null> =>
  database.prisma('webhooks.delivery', ({ webhookDelivery }) =>
    webhookDelivery.findUnique({ where: { projectId_id: { projectId, id } } }),
  );

/** Adds an attempt that belongs to no run, such as a test. */
export const addDelivery = (
  database: PrismaQueryable,
  { projectId }: Reach,
  webhookId: string,
  attempt: Attempt,
): Promise<DeliveryRow> =>
  database.prisma('webhooks.addDelivery', ({ webhookDelivery }) =>
    webhookDelivery.create({ data: { ...attempt, projectId, webhookId } }),
  );

/**
 * Deletes up to `limit` attempts of all projects made before `before`. Reads, for each project, the beginning of its range of
 * the primary key, because ids are ordered by time.
 */
export async function deleteOldDeliveries(database: Database, before: Date, limit: number): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.deliveries',
    text: `DELETE FROM webhook_deliveries d USING (
             SELECT p.id AS project_id, o.id FROM projects p CROSS JOIN LATERAL (
               SELECT id FROM webhook_deliveries WHERE project_id = p.id AND id < $1::uuid ORDER BY id LIMIT $2
             ) o LIMIT $2
           ) old WHERE d.project_id = old.project_id AND d.id = old.id RETURNING 1`,
    values: [firstUuidAt(before), limit],
  });
  return { count: rows.length, more: rows.length === limit };
}

/**
 * Deletes up to `limit` attempts of webhooks that have more than `most`: the oldest of them. For each webhook it reads the
 * index as far as `most` entries.
 */
export async function deleteBeyond(database: Database, most: number, limit: number): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.manyDeliveries',
    text: `DELETE FROM webhook_deliveries d USING (
             SELECT w.project_id, o.id FROM webhooks w CROSS JOIN LATERAL (
               SELECT id FROM webhook_deliveries WHERE project_id = w.project_id AND webhook_id = w.id
               ORDER BY id DESC OFFSET $1 LIMIT $2
             ) o LIMIT $2
           ) beyond WHERE d.project_id = beyond.project_id AND d.id = beyond.id RETURNING 1`,
    values: [most, limit],
  });
  return { count: rows.length, more: rows.length === limit };
}
