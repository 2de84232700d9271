import { useState, type ReactNode } from 'react';
import { useAsked } from './answer';
import { AuditLogDocument, type AuditLogQuery } from './generated/graphql';
import { Pager } from './pager';
import { Card, Empty, Loading, Moment, Problem } from './parts';

type Entry = NonNullable<AuditLogQuery['project']['auditLog']>['nodes'][number];
type Key = AuditLogQuery['project']['apiKeys'][number];

/** An empty page of keys has no key in it, and a change of a key is in the log. */
const CONTEXT = { additionalTypenames: ['ApiKey', 'Project'] };

/** Who made a change. */
function Maker({ apiKeyId, keys }: { apiKeyId: string | null | undefined; keys: readonly Key[] }): ReactNode {
  if (!apiKeyId) return <>the operator, or the server</>;
  const key = keys.find(({ id }) => id === apiKeyId);
  if (!key) return <>a key that was removed</>;
  return (
    <>
      {key.name} <code>{key.prefix}…</code>
    </>
  );
}

const EntryRow = ({ entry, what, keys }: { entry: Entry; what: string; keys: readonly Key[] }): ReactNode => (
  <li>
    <span className="log-when">
      <Moment at={entry.at} />
    </span>
    <div className="log-what">
      <p>{what}</p>
      <p className="muted">
        By <Maker apiKeyId={entry.apiKeyId} keys={keys} />
      </p>
      {Object.keys(entry.details).length > 0 && (
        <details>
          <summary>Details</summary>
          <div className="code-box">
            <pre tabIndex={0}>{JSON.stringify(entry.details, null, 2)}</pre>
          </div>
        </details>
      )}
    </div>
  </li>
);

/** The audit log, a page at a time, the newest first. */
export function AuditLog(): ReactNode {
  /** The cursors of the pages before this one; the last is that of this page. */
  const [cursors, setCursors] = useState<readonly string[]>([]);
  const { data, error, retry } = useAsked({
    query: AuditLogDocument,
    variables: { after: cursors.at(-1) ?? null },
    context: CONTEXT,
  });
  const log = data?.project.auditLog;
  const describe = (entry: Entry): string =>
    data?.actions?.enumValues?.find(({ name }) => name === entry.action)?.description ?? entry.action;
  return (
    <Card title="Audit log">
      {error && !log && <Problem error={error} retry={retry} />}
      {!log && !error && <Loading lines={5} />}
      {log?.nodes.length === 0 && <Empty title="Nothing has been changed in the last two years" />}
      {log && log.nodes.length > 0 && (
        <ol className="log" aria-label="Changes, the newest first">
          {log.nodes.map((entry, place) => (
            <EntryRow
              key={`${entry.at} ${place}`}
              entry={entry}
              what={describe(entry)}
              keys={data?.project.apiKeys ?? []}
            />
          ))}
        </ol>
      )}
      {log && <Pager cursors={cursors} pageInfo={log.pageInfo} onChange={setCursors} />}
    </Card>
  );
}
