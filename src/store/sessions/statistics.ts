import type { Database } from '../database.js';

/**
 * Runs ANALYZE on tables that have doubled and grown by 200 rows since the last ANALYZE. Returns the names of these
 * tables.
 *
 * A young table grows a hundredfold before autovacuum looks at it (once a minute). Without statistics, the planner
 * rates all indexes as equal. Tables of 100,000 rows and more are left to autovacuum, which is quick enough for them;
 * an ANALYZE of such a table takes 0.2 s of a core. A table that another connection is analysing is skipped.
 */
export async function refreshStatistics(database: Database): Promise<string[]> {
  const rows = await database.query<{ name: string }>({
    name: 'statistics.young',
    text: `SELECT quote_ident(relname) AS name FROM pg_stat_user_tables
           WHERE schemaname = 'public' AND relname ~ '^(users|user_search|sessions|presence_changes|presence_minutes|session_sums|session_sum_marks|event_sums|event_sum_marks|events_\\d+|event_keys_\\d+)$'
             AND n_mod_since_analyze > 200 + greatest(n_live_tup - n_mod_since_analyze, 0)
             AND n_live_tup - n_mod_since_analyze < 100000`,
  });
  for (const { name } of rows)
    await database.query({ name: 'statistics.analyze', text: `ANALYZE (SKIP_LOCKED) ${name}` });
  return rows.map(({ name }) => name);
}
