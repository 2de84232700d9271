import { useId, useState, type FormEvent, type ReactNode } from 'react';
import { useClient, useMutation } from 'urql';
import { Link, useLocation } from 'wouter';
import { useAsked } from './answer';
import { explain } from './api';
import { Confirm } from './confirm';
import { formatDuration } from './format';
import {
  DeleteWebhookDocument,
  FeedEndsDocument,
  RotateWebhookSecretDocument,
  TestWebhookDocument,
  UpdateWebhookDocument,
  WebhookDocument,
  type DeliveryFragment,
  type WebhookQuery,
} from './generated/graphql';
import { Icon } from './icons';
import { Pager } from './pager';
import { Card, Empty, Loading, Moment, PageHead, Problem } from './parts';
import { PlainTable } from './plain-table';
import { useTitle } from './title';
import { QueryFields, variablesIn } from './webhook-query';
import { NewSecret, WebhookState } from './webhooks-page';

type ShownWebhook = Extract<NonNullable<WebhookQuery['node']>, { query: string }>;

/** What the receiver answered, in a few words. */
const answerOf = ({ status, error }: DeliveryFragment): string =>
  [status, error].filter((part) => part !== null).join(': ');
const isTaken = ({ status }: DeliveryFragment): boolean => typeof status === 'number' && status >= 200 && status < 300;

function Deliveries({ deliveries }: { deliveries: readonly DeliveryFragment[] }): ReactNode {
  if (deliveries.length === 0) return <Empty title="Nothing has been sent in the last 7 days" />;
  return (
    <PlainTable label="Deliveries" columns={['Sent', 'Answer', 'Attempt', 'Changes', 'Time', 'Message']}>
      {deliveries.map((delivery) => (
        <tr key={delivery.id}>
          <th scope="row">
            <Moment at={delivery.at} />
          </th>
          <td>
            <span className={isTaken(delivery) ? 'badge active' : 'badge error'}>{delivery.status ?? 'No answer'}</span>{' '}
            {delivery.error}
          </td>
          <td className="number">{delivery.attempt}</td>
          <td className="number">{delivery.changes}</td>
          <td className="number">{Math.round(delivery.milliseconds)} ms</td>
          <td>
            <code>{delivery.messageId || '–'}</code>
          </td>
        </tr>
      ))}
    </PlainTable>
  );
}

/** Goes back, or on, to a place of the feed, and starts the webhook there. */
function GoTo({ webhook, onDone }: { webhook: ShownWebhook; onDone: () => void }): ReactNode {
  const client = useClient();
  const [{ error, fetching }, update] = useMutation(UpdateWebhookDocument);
  const [to, setTo] = useState('stopped');
  const [cursor, setCursor] = useState('');
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    setProblem(null);
    let after: string | null = to === 'cursor' ? cursor.trim() : null;
    if (to === 'now' || to === 'oldest') {
      const ends = await client.query(FeedEndsDocument, {}, { requestPolicy: 'network-only' });
      if (!ends.data) {
        setProblem(ends.error ? explain(ends.error) : 'The server did not answer.');
        return;
      }
      after = to === 'now' ? ends.data.changeCursor : (ends.data.changes.pageInfo.endCursor ?? null);
    }
    const result = await update({ id: webhook.id, enabled: true, ...(after !== null && { after }) });
    if (result.data) onDone();
  }

  return (
    <form className="form" onSubmit={(event) => void submit(event)}>
      <div className="form-grid">
        <div className="field">
          <label htmlFor={`${id}to`}>Continue</label>
          <select id={`${id}to`} value={to} onChange={(event) => setTo(event.target.value)}>
            <option value="stopped">where it stopped</option>
            <option value="now">with what happens from now on</option>
            <option value="oldest">with everything that the feed keeps</option>
            <option value="cursor">after a cursor</option>
          </select>
        </div>
        {to === 'cursor' && (
          <div className="field">
            <label htmlFor={`${id}cursor`}>Cursor</label>
            <input id={`${id}cursor`} required value={cursor} onChange={(event) => setCursor(event.target.value)} />
          </div>
        )}
      </div>
      <div className="form-tools">
        <button type="submit" className="button primary" disabled={fetching}>
          {webhook.enabled ? 'Continue there' : 'Start'}
        </button>
        {(error || problem) && (
          <p className="field-told" role="alert">
            {error ? explain(error) : problem}
          </p>
        )}
      </div>
    </form>
  );
}

/** The form of the URL, the name and the query. */
function Edit({ webhook }: { webhook: ShownWebhook }): ReactNode {
  const [{ data, error, fetching }, update] = useMutation(UpdateWebhookDocument);
  const [url, setUrl] = useState(webhook.url);
  const [name, setName] = useState(webhook.name);
  const given = JSON.stringify(webhook.variables ?? {}, null, 2);
  const [asked, setAsked] = useState({ query: webhook.query, variables: given === '{}' ? '' : given });
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const variables = variablesIn(asked.variables);
    if (!variables) return;
    const isOther = asked.query !== webhook.query || JSON.stringify(variables, null, 2) !== given;
    // What has not changed is not sent: a changed query makes new messages of what waits.
    await update({
      id: webhook.id,
      name,
      ...(url !== webhook.url && { url }),
      ...(isOther && { query: asked.query, variables }),
    });
  }

  return (
    <form className="form stack" onSubmit={(event) => void submit(event)}>
      <div className="form-grid">
        <div className="field">
          <label htmlFor={`${id}url`}>URL of the receiver</label>
          <input
            id={`${id}url`}
            type="url"
            required
            maxLength={2_048}
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
          Save
        </button>
        <span role="status" className={error ? 'field-told' : 'muted'}>
          {error ? explain(error) : data && 'Saved.'}
        </span>
      </div>
    </form>
  );
}

/** Deletes the webhook after the user has confirmed it. */
function Delete({ webhook }: { webhook: ShownWebhook }): ReactNode {
  const [, navigate] = useLocation();
  return (
    <Confirm
      button="Delete…"
      title="Delete this webhook?"
      does="Delete"
      doing="Deleting…"
      mutation={DeleteWebhookDocument}
      variables={{ id: webhook.id }}
      onDone={() => navigate('/webhooks')}
    >
      Nothing more is sent to {webhook.url}, and its secret ends.
    </Confirm>
  );
}

function Shown({
  webhook,
  reason,
  again,
  pager,
}: {
  webhook: ShownWebhook;
  reason: string | null;
  again: () => void;
  /** The way to other pages of the deliveries. */
  pager: ReactNode;
}): ReactNode {
  const [tested, test] = useMutation(TestWebhookDocument);
  const [rotated, rotate] = useMutation(RotateWebhookSecretDocument);
  const [stopped, update] = useMutation(UpdateWebhookDocument);
  const failure = tested.error ?? rotated.error ?? stopped.error;
  useTitle(`${webhook.name || webhook.url}, webhook`);
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link href="/webhooks">Webhooks</Link>
        <Icon name="right" size={14} />
        <span aria-current="page">Webhook</span>
      </nav>
      <PageHead title={webhook.name || 'Webhook without a name'}>
        <WebhookState webhook={webhook} />
        <button
          type="button"
          className="button"
          disabled={tested.fetching}
          onClick={() => void test({ id: webhook.id }).then(again)}
        >
          {tested.fetching ? 'Sending…' : 'Send a test'}
        </button>
        {webhook.enabled && (
          <button
            type="button"
            className="button"
            onClick={() => void update({ id: webhook.id, enabled: false }).then(again)}
          >
            Stop
          </button>
        )}
        <button type="button" className="button" onClick={() => void rotate({ id: webhook.id })}>
          New secret
        </button>
        <Delete webhook={webhook} />
      </PageHead>
      <div className="stack">
        {failure && <Problem error={failure} />}
        {tested.data && (
          <p role="status" className={isTaken(tested.data.testWebhook) ? 'told-good' : 'told-bad'}>
            The test was answered with {answerOf(tested.data.testWebhook)}, after{' '}
            {Math.round(tested.data.testWebhook.milliseconds)} ms.
          </p>
        )}
        {rotated.data && (
          <NewSecret secret={rotated.data.rotateWebhookSecret.secret}>
            Messages are signed with this secret too. The old one is valid for a day. Copy the new one: it is shown only
            once.
          </NewSecret>
        )}
        {!webhook.enabled && <p className="told-bad">Stopped. {reason}</p>}
        <Card title={webhook.enabled ? 'Go back or on' : 'Start again'}>
          {webhook.enabled && webhook.lag > 0 && (
            <p className="card-note muted">
              The oldest change that waits was stored {formatDuration(webhook.lag)} ago.
            </p>
          )}
          <GoTo webhook={webhook} onDone={again} />
        </Card>
        <Card title="Deliveries">
          <Deliveries deliveries={webhook.deliveries.nodes} />
          {pager}
        </Card>
        <Card title="Receiver and query">
          <Edit key={webhook.id} webhook={webhook} />
        </Card>
      </div>
    </>
  );
}

/** One webhook: its state, its deliveries, and what can be done with it. */
export function WebhookPage({ id }: { id: string }): ReactNode {
  /** The cursors of the pages of deliveries before this one; the last is that of this page. */
  const [cursors, setCursors] = useState<readonly string[]>([]);
  const { data, error, retry, again } = useAsked({
    query: WebhookDocument,
    variables: { id, after: cursors.at(-1) ?? null },
  });
  if (error && !data) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={8} label="Loading webhook" />;
  // The node of another type has none of these fields.
  const webhook = data.node && 'query' in data.node ? (data.node as ShownWebhook) : null;
  if (!webhook) {
    return (
      <Empty title="There is no such webhook" isPage>
        <Link href="/webhooks">Go to webhooks</Link>
      </Empty>
    );
  }
  const pager = <Pager cursors={cursors} pageInfo={webhook.deliveries.pageInfo} onChange={setCursors} />;
  const reason = data.reasons?.enumValues?.find(({ name }) => name === webhook.disabledReason)?.description ?? null;
  return <Shown webhook={webhook} reason={reason} again={again} pager={pager} />;
}
