-- Marks for the sessions that are there. The triggers are there before, and a change made meanwhile adds a mark of its own. In the
-- transaction that makes the triggers, all writers of sessions would wait.
-- From block to block by the index on started_at, so no session is read.
WITH RECURSIVE blocks AS (
  SELECT p.id, session_block(f.started_at) AS block FROM projects p CROSS JOIN LATERAL (
    SELECT s.started_at FROM sessions s WHERE s.project_id = p.id ORDER BY s.started_at LIMIT 1) f
  UNION ALL
  SELECT b.id, session_block(f.started_at) FROM blocks b CROSS JOIN LATERAL (
    SELECT s.started_at FROM sessions s
    WHERE s.project_id = b.id AND s.started_at >= b.block + interval '3 hours' ORDER BY s.started_at LIMIT 1) f
)
INSERT INTO session_sum_marks (project_id, block) SELECT id, block FROM blocks;
