import type { ReactNode } from 'react';
import { useQuery } from 'urql';
import { FirstEvent } from './first-event';
import { ProjectDocument } from './generated/graphql';
import { Keys } from './keys';
import { Loading, Moment, PageHead, Problem } from './parts';
import { Origins, Settings } from './settings';

/** The project: how to send to it, who may, and how it treats what it gets. */
export function ProjectPage(): ReactNode {
  const [{ data, error }, ask] = useQuery({ query: ProjectDocument });
  return (
    <>
      <PageHead title={data?.project.name ?? 'Project'}>
        {data && (
          <span className="muted">
            Made <Moment at={data.project.createdAt} />
          </span>
        )}
      </PageHead>
      {error && !data && <Problem error={error} retry={() => ask({ requestPolicy: 'network-only' })} />}
      {!data && !error && <Loading lines={8} label="Loading the project" />}
      {data && (
        <div className="stack">
          <FirstEvent />
          <Keys />
          <Settings project={data.project} />
          <Origins allowed={data.project.settings.allowedOrigins} />
        </div>
      )}
    </>
  );
}
