import { useEffect, useId, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation, type CombinedError } from 'urql';
import { useLocation } from 'wouter';
import { useAsked } from './answer';
import { createApi, explain } from './api';
import { Confirm } from './confirm';
import { enterProject, EVERYTHING, useCredential } from './credential';
import {
  CreateKeyOfDocument,
  CreateProjectDocument,
  ProjectsDocument,
  RevokeKeyDocument,
  type CreateKeyOfMutation,
  type ProjectsQuery,
} from './generated/graphql';
import { Pager } from './pager';
import { Card, Empty, Loading, Moment, PageHead, Problem, Refusal } from './parts';
import { PlainTable } from './plain-table';
import { useTitle } from './title';
import { NewSecret } from './webhooks-page';
import './styles/project.css';

type Listed = ProjectsQuery['projects']['nodes'][number];

/** A first project makes the empty list old. */
const PROJECTS = { additionalTypenames: ['Project'] };

/** The name of the keys with which the operator enters projects. */
const KEY_NAME = 'Visit of the operator';

/** Enters a project, after the operator has confirmed that this makes a key. */
function Open({ project }: { project: Listed }): ReactNode {
  const { secret } = useCredential();
  const [, navigate] = useLocation();

  function enter({ createApiKey: { key, apiKey } }: CreateKeyOfMutation): void {
    if (!secret) return;
    navigate('/');
    enterProject(key, EVERYTHING, { operatorKey: secret, keyId: apiKey.id });
  }

  return (
    <Confirm
      button="Open…"
      name={`Open ${project.name}`}
      className="button small"
      title={`Open ${project.name}?`}
      does="Make a key and open"
      doing="Opening…"
      isSafe
      mutation={CreateKeyOfDocument}
      variables={{ projectId: project.id, name: KEY_NAME, scopes: ['READ', 'MANAGE'] }}
      onDone={enter}
    >
      The operator key belongs to no project. So a key is made for your visit: “{KEY_NAME}”, with the scopes READ and
      MANAGE. It is kept in this tab, with the operator key, and revoked when you leave the project. The project’s audit
      log tells of both. If you close the tab instead, revoke the key in the list of keys.
    </Confirm>
  );
}

/** The form that makes a project. */
function MakeProject(): ReactNode {
  const [{ data, error, fetching }, make] = useMutation(CreateProjectDocument);
  const [name, setName] = useState('');
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const result = await make({ name: name.trim() });
    if (result.data) setName('');
  }

  return (
    <Card title="New project">
      <form className="form make-key" onSubmit={(event) => void submit(event)}>
        <div className="field">
          <label htmlFor={id}>Name</label>
          <input
            id={id}
            required
            maxLength={100}
            placeholder="The shop"
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </div>
        <button type="submit" className="button primary" disabled={fetching}>
          Create project
        </button>
        <Refusal error={error} />
        {data && !fetching && (
          <NewSecret secret={data.createProject.key}>
            <b>{data.createProject.project.name}</b> was created. This is its first key, with every scope. Copy it now:
            it is shown only once.
          </NewSecret>
        )}
      </form>
    </Card>
  );
}

/** Revokes the key of a visit that has ended, and says so if that fails. */
function EndOfVisit(): ReactNode {
  const { left } = useCredential();
  const [problem, setProblem] = useState<CombinedError | null>(null);
  useEffect(() => {
    if (!left) return;
    const { client, streams } = createApi(left.secret);
    streams.dispose();
    void client
      .mutation(RevokeKeyDocument, { id: left.keyId })
      .toPromise()
      .then(({ error }) => setProblem(error ?? null));
  }, [left]);
  if (!problem) return null;
  return (
    <p className="told-bad" role="alert">
      The key of your visit could not be revoked, and is still valid. Revoke “{KEY_NAME}” in the project’s list of keys.{' '}
      {explain(problem)}
    </p>
  );
}

/** What the operator key opens: the projects of the installation, the newest first, and making one. */
export function OperatorPage(): ReactNode {
  /** The cursors of the pages before this one; the last is that of this page. */
  const [cursors, setCursors] = useState<readonly string[]>([]);
  const { data, error, retry } = useAsked({
    query: ProjectsDocument,
    variables: { after: cursors.at(-1) ?? null },
    context: PROJECTS,
  });
  useTitle('Projects');
  const projects = data?.projects;
  return (
    <>
      <PageHead title={<>Projects {projects && <span className="title-count">{projects.totalCount}</span>}</>} />
      <div className="stack">
        <EndOfVisit />
        <Card title="All projects">
          {error && !projects && <Problem error={error} retry={retry} />}
          {!projects && !error && <Loading lines={5} label="Loading projects" />}
          {projects?.nodes.length === 0 && <Empty title="No projects yet" />}
          {projects && projects.nodes.length > 0 && (
            <PlainTable label="Projects" columns={['Name', 'Created']} buttons="Open">
              {projects.nodes.map((project) => (
                <tr key={project.id}>
                  <th scope="row" className="long-text">
                    {project.name}
                  </th>
                  <td>
                    <Moment at={project.createdAt} />
                  </td>
                  <td className="row-tools">
                    <Open project={project} />
                  </td>
                </tr>
              ))}
            </PlainTable>
          )}
          {projects && <Pager cursors={cursors} pageInfo={projects.pageInfo} onChange={setCursors} />}
        </Card>
        <MakeProject />
      </div>
    </>
  );
}
