import { useId, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { Link } from 'wouter';
import { useAsked } from './answer';
import { formatDuration } from './format';
import { CreateWebhookDocument, WebhooksDocument, type WebhookRowFragment } from './generated/graphql';
import { Card, CopyButton, Empty, Loading, Moment, PageHead, Problem, Refusal } from './parts';
import { webhookPath } from './paths';
import { PlainTable } from './plain-table';
import { FIRST_QUERY, QueryFields, variablesIn } from './webhook-query';

/** Whether a webhook delivers, and how late it is. */
export const WebhookState = ({ webhook }: { webhook: WebhookRowFragment }): ReactNode => {
  if (!webhook.enabled)
    return <span className={webhook.disabledReason === 'REQUESTED' ? 'badge' : 'badge error'}>Stopped</span>;
  if (webhook.lag >= 5) return <span className="badge">{formatDuration(webhook.lag)} behind</span>;
  return <span className="badge active">Up to date</span>;
};

/** A secret, which is shown only once. */
export const NewSecret = ({ secret, children }: { secret: string; children: ReactNode }): ReactNode => (
  <div className="made-key" role="status">
    <p>{children}</p>
    <div className="code-box one-line">
      <pre tabIndex={0}>{secret}</pre>
      <CopyButton text={secret} />
    </div>
  </div>
);

/** The form that makes a webhook. */
function MakeWebhook({ onMade }: { onMade: () => void }): ReactNode {
  const [{ data, error, fetching }, make] = useMutation(CreateWebhookDocument);
  const [url, setUrl] = useState('');
  const [name, setName] = useState('');
  const [asked, setAsked] = useState({ query: FIRST_QUERY, variables: '' });
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const variables = variablesIn(asked.variables);
    if (!variables) return;
    const result = await make({ url, name, query: asked.query, variables });
    if (!result.data) return;
    setUrl('');
    setName('');
    onMade();
  }

  return (
    <Card title="New webhook">
      <form className="form stack" onSubmit={(event) => void submit(event)}>
        <div className="form-grid">
          <div className="field">
            <label htmlFor={`${id}url`}>URL of the receiver</label>
            <input
              id={`${id}url`}
              type="url"
              required
              maxLength={2_048}
              placeholder="https://example.com/footsteps"
              value={url}
              onChange={(event) => setUrl(event.target.value)}
            />
          </div>
          <div className="field">
            <label htmlFor={`${id}name`}>Name</label>
            <input id={`${id}name`} maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />
          </div>
        </div>
        <QueryFields {...asked} onChange={(query, variables) => setAsked({ query, variables })} />
        <div className="form-tools">
          <button type="submit" className="button primary" disabled={fetching}>
            Create webhook
          </button>
          <Refusal error={error} />
        </div>
        {data && (
          <NewSecret secret={data.createWebhook.secret}>
            The webhook was created. Copy the secret, with which the receiver verifies messages: it is shown only once.
          </NewSecret>
        )}
      </form>
    </Card>
  );
}

/** The webhooks of the project, and the form for a new one. */
export function WebhooksPage(): ReactNode {
  const { data, error, retry, again } = useAsked({ query: WebhooksDocument });
  const webhooks = data?.project.webhooks;
  return (
    <>
      <PageHead title="Webhooks" />
      {error && !data && <Problem error={error} retry={retry} />}
      {!data && !error && <Loading lines={6} label="Loading webhooks" />}
      {webhooks && (
        <div className="stack">
          <Card title="Webhooks">
            {webhooks.length === 0 ? (
              <Empty title="No webhooks yet">
                A webhook posts what happens to a server of yours, in the shape of your query, until it is taken.
              </Empty>
            ) : (
              <PlainTable label="Webhooks" columns={['Name', 'State', 'URL', 'Created']}>
                {webhooks.map((webhook) => (
                  <tr key={webhook.id}>
                    <th scope="row">
                      <Link href={webhookPath(webhook.id)}>{webhook.name || 'Without a name'}</Link>
                    </th>
                    <td>
                      <WebhookState webhook={webhook} />
                    </td>
                    <td className="long-text">
                      <code>{webhook.url}</code>
                    </td>
                    <td>
                      <Moment at={webhook.createdAt} />
                    </td>
                  </tr>
                ))}
              </PlainTable>
            )}
          </Card>
          <MakeWebhook onMade={again} />
        </div>
      )}
    </>
  );
}
