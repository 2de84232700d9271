import type { ReactNode } from 'react';
import { useQuery } from 'urql';
import { useAsked } from './answer';
import { AuditLog } from './audit-log';
import { ClientSettings } from './client-settings';
import { useRights } from './credential';
import { formatExact } from './format';
import { FirstEvent } from './first-event';
import { AnythingThereDocument, ProjectDocument, ProjectNameDocument } from './generated/graphql';
import { Keys } from './keys';
import { OwnRights } from './own-rights';
import { Card, Loading, PageHead, Problem } from './parts';
import { Origins, Settings } from './settings';
import { ShareLink } from './share-link';
import { Snippets } from './snippets';
import { Tokens } from './tokens';
import './styles/project.css';

/** How to send events, for a key that may not see them arrive. */
const HowToSend = (): ReactNode => (
  <Card title="Send events">
    <p className="card-note muted">
      The code needs a key with the scope INGEST: make one under “Keys”. To see events arrive, use a key with the scope
      READ.
    </p>
    <div className="card-text">
      <Snippets apiKey={null} />
    </div>
  </Card>
);

/** How to send events, and the next one that arrives. */
function Events(): ReactNode {
  const [{ data, fetching }] = useQuery({ query: AnythingThereDocument });
  return (data || !fetching) && <FirstEvent latest={data?.events.nodes[0]?.receivedAt ?? null} />;
}

/** What the page has for a key that may read the settings, or change them too. */
function Known({ read, manage }: { read: boolean; manage: boolean }): ReactNode {
  const { data, error, retry } = useAsked({ query: ProjectDocument });
  if (error && !data) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={8} label="Loading project" />;
  return (
    <>
      {read ? <Events /> : <HowToSend />}
      {manage && <Keys />}
      {manage && <ShareLink />}
      {manage && <Tokens />}
      <Settings project={data.project} />
      <Origins allowed={data.project.settings.allowedOrigins} />
      <ClientSettings />
      {manage ? (
        <AuditLog />
      ) : (
        <Card title="Keys, access tokens and audit log">
          <p className="card-text muted">
            To see keys, to make keys and tokens, and to read the audit log, use a key with the scope MANAGE.
          </p>
        </Card>
      )}
      <p className="muted project-since">The project was created on {formatExact(new Date(data.project.createdAt))}.</p>
    </>
  );
}

/** The project page: what the user's key may do, how to send events, keys and tokens, settings, and what was changed. */
export function ProjectPage(): ReactNode {
  const { read, manage } = useRights();
  const [{ data }] = useQuery({ query: ProjectNameDocument, requestPolicy: 'cache-first' });
  return (
    <>
      <PageHead title={data?.project.name ?? 'Project'} />
      <div className="stack">
        <OwnRights />
        {read || manage ? (
          <Known read={read} manage={manage} />
        ) : (
          <Card title="Settings">
            <p className="card-text muted">
              To see the project’s settings, use a key with the scope READ. To change them, use one with the scope
              MANAGE.
            </p>
          </Card>
        )}
      </div>
    </>
  );
}
