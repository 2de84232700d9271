import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Database, Statement } from '../../src/store/database.js';
import { readChanges } from '../../src/store/feed/read-changes.js';
import { deleteBeyond, deleteOldDeliveries } from '../../src/store/webhooks/deliveries.js';
import { makeDue, prepareMessage, settleWebhook, takeDueWebhooks } from '../../src/store/webhooks/leases.js';
import { wakeReadyWebhooks, wakeWebhooks } from '../../src/store/webhooks/wake.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** What the statements of webhooks read, of many webhooks and deliveries. FOOTSTEPS_WEBHOOKS: how many webhooks. */

const WEBHOOKS = Number(process.env['FOOTSTEPS_WEBHOOKS'] ?? 10_000);
const OF_PROJECT = 20;

let db: TestDatabase;
let database: Database;
const now = new Date();
beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
  const run = (text: string, values: unknown[] = []) => database.query({ name: 'test.fill', text, values });
  await run(
    `INSERT INTO projects (id, name, created_at)
     SELECT md5('project' || n)::uuid, 'Project', now() FROM generate_series(1, $1::integer) n`,
    [WEBHOOKS / OF_PROJECT],
  );
  // One in a hundred is due, one in ten waits to be tried again later, the others wait for a change.
  await run(
    `INSERT INTO webhooks (project_id, id, name, url, query, secret, created_at, cursor, due_at, place_transaction, place_part, place_at)
     SELECT md5('project' || (1 + n / $2::integer))::uuid, md5('webhook' || n)::uuid, '', 'https://example.com/', 'subscription { changes { cursor } }', '', now(), 'x',
            CASE WHEN n % 100 = 1 THEN $3::timestamptz - n * interval '1 ms' WHEN n % 10 = 2 THEN $3::timestamptz + interval '1 hour' END, 100, 0, $3
     FROM generate_series(0, $1::integer - 1) n`,
    [WEBHOOKS, OF_PROJECT, now],
  );
  // Each project has changes before the places of its webhooks, and few after them. All are readable: a Postgres begins beyond
  // transaction 700.
  await run(
    `INSERT INTO changes (project_id, at, transaction, part, entries)
     SELECT md5('project' || (1 + n % $1::integer))::uuid, $2, CASE WHEN n % 100 = 0 THEN 100 + n % 500 ELSE n % 100 END, n, 1
     FROM generate_series(1, $3::integer) n`,
    [WEBHOOKS / OF_PROJECT, now, 10 * WEBHOOKS],
  );
  await run(
    `INSERT INTO webhook_deliveries (project_id, id, webhook_id, at, message_id, attempt, milliseconds, changes)
     SELECT md5('project1')::uuid, md5('delivery' || n)::uuid, md5('webhook' || n % 3)::uuid, now(), 'x', 1, 1, 1
     FROM generate_series(1, 30000) n`,
  );
  await run('ANALYZE webhooks, webhook_deliveries, changes, projects');
}, 180_000);
afterAll(() => db.drop());

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  Plans?: PlanNode[];
}
const nodesOf = (plan: PlanNode): PlanNode[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

/** Explains the only statement of the call, in a transaction that is rolled back. */
async function explain(call: (database: Database) => Promise<unknown>): Promise<{ nodes: PlanNode[]; time: number }> {
  let noted: Statement | undefined;
  const noting = {
    query: async (statement: Statement) => {
      noted = statement;
      throw new Error('noted');
    },
  } as unknown as Database;
  await call(noting).catch(() => {});
  let plan: { Plan: PlanNode; 'Execution Time': number } | undefined;
  const back = new Error('back');
  await database
    .transaction(async (tx) => {
      const [row] = await tx.query<{ 'QUERY PLAN': [NonNullable<typeof plan>] }>({
        name: 'test.explain',
        text: `EXPLAIN (ANALYZE, FORMAT JSON) ${noted!.text}`,
        values: noted!.values ?? [],
      });
      plan = row!['QUERY PLAN'][0];
      throw back;
    })
    .catch((error: unknown) => {
      if (error !== back) throw error;
    });
  return { nodes: nodesOf(plan!.Plan), time: plan!['Execution Time'] };
}

const projectId = 'c2d9de84-6e9f-6a6b-8e7f-000000000000';
const reach = { projectId };
const leased = { id: randomUUID(), lease: randomUUID() };
const outcome = { cursor: 'x', failures: 0, troubles: 0, next: now, goesOn: false, disabled: null };
/** A project with 200 rows in the feed, of one transaction. */
const busy = { projectId: createHash('md5').update('project8').digest('hex'), userIds: null };
const since = new Date(now.getTime() - 86_400_000);
const most = { rows: 1_000, entries: 2_000 };
const between = (first: number, last: number) => ({
  from: { transaction: 7, part: first },
  until: { transaction: 7, part: last },
  since,
});
const statements: [name: string, call: (d: Database) => Promise<unknown>, most: number][] = [
  [
    'take what is due',
    (d) => takeDueWebhooks(d, { now, places: 40, ofProject: 4, had: [{ projectId, count: 2 }] }),
    1_000,
  ],
  // All of the thousand that it compares have changes, and are woken: that is found, locked and written.
  ['wake those with changes', (d) => wakeReadyWebhooks(d, null, 1_000, now), 5_000],
  ['wake those of projects', (d) => wakeWebhooks(d, [projectId], now), 50],
  ['read the feed up to a place', (d) => readChanges(d, busy, between(0, 1_000), { naming: `'x'`, most }), 10],
  ['make due', (d) => makeDue(d, reach, leased, now), 10],
  ['prepare', (d) => prepareMessage(d, reach, leased, { messageId: 'm', until: 'x', since: now }, now), 10],
  ['settle', (d) => settleWebhook(d, reach, leased, outcome, null), 10],
  ['delete old deliveries', (d) => deleteOldDeliveries(d, new Date(0), 5_000), WEBHOOKS],
  ['delete too many deliveries', (d) => deleteBeyond(d, 9_000, 100), 30_000 + WEBHOOKS],
];

test.each(statements)('%s: by index, and few rows', async (name, call, most) => {
  const { nodes, time } = await explain(call);
  const whole = nodes.filter(
    (node) =>
      node['Node Type'] === 'Seq Scan' &&
      node['Relation Name']?.startsWith('changes') === true &&
      node['Actual Rows'] > 0,
  );
  expect(whole).toEqual([]);
  const read = nodes
    .filter((node) => node['Relation Name'])
    .reduce(
      (sum, node) => sum + (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'],
      0,
    );
  if (process.env['SHOW']) console.log(name, Math.round(read), 'rows,', time, 'ms');
  expect(read).toBeLessThanOrEqual(most);
});
