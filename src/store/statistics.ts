import type { Database } from './database.js';

/**
 * Takes statistics of tables that have doubled since they were last taken, and grown by 200 rows: a young table
 * grows a hundredfold before autovacuum looks (once a minute), and a planner without statistics takes all indexes
 * for equal. Of 100,000 rows and more autovacuum looks soon enough, and a look takes 0.2 s of a core. Tables that
 * somebody else is analysing are left to them.
 */
export async function refreshStatistics(database: Database): Promise<string[]> {
  const rows = await database.query<{ name: string }>({
    name: 'statistics.young',
    text: `SELECT quote_ident(relname) AS name FROM pg_stat_user_tables
           WHERE schemaname = 'public' AND relname ~ '^(users|user_search|sessions|events_\\d+|event_keys_\\d+)$'
             AND n_mod_since_analyze > 200 + greatest(n_live_tup - n_mod_since_analyze, 0)
             AND n_live_tup - n_mod_since_analyze < 100000`,
  });
  for (const { name } of rows)
    await database.query({ name: 'statistics.analyze', text: `ANALYZE (SKIP_LOCKED) ${name}` });
  return rows.map(({ name }) => name);
}
