import { useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { useAsked } from './answer';
import { Confirm } from './confirm';
import { useCredential } from './credential';
import { CreateKeyDocument, KeysDocument, RevokeKeyDocument, type KeyFragment, type Scope } from './generated/graphql';
import { Card, Loading, Moment, Problem, Refusal } from './parts';
import { PlainTable } from './plain-table';
import { ScopeChecks, useScopes } from './scopes';
import { NewSecret } from './webhooks-page';

/** The form that makes a key. */
function MakeKey({ onMade }: { onMade: () => void }): ReactNode {
  const [{ data, error, fetching }, make] = useMutation(CreateKeyDocument);
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<readonly Scope[]>(['INGEST']);
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const result = await make({ name: name.trim(), scopes: [...scopes] });
    if (!result.data) return;
    setName('');
    onMade();
  }

  return (
    <form className="form make-key" onSubmit={(event) => void submit(event)}>
      <div className="field">
        <label htmlFor={id}>New key name</label>
        <input
          id={id}
          value={name}
          maxLength={100}
          required
          placeholder="web"
          onChange={(event) => setName(event.target.value)}
        />
      </div>
      <ScopeChecks offered={useScopes()} chosen={scopes} onChange={setScopes} />
      <button type="submit" className="button primary" disabled={fetching || scopes.length === 0}>
        Create key
      </button>
      <Refusal error={error} />
      {data && (
        <NewSecret secret={data.createApiKey.key}>
          <b>{data.createApiKey.apiKey.name}</b> was created. Copy the key now: it is shown only once.
        </NewSecret>
      )}
    </form>
  );
}

/** Revokes a key after the user has confirmed it. `isOwn`: it is the key that the user is signed in with. */
const Revoke = ({ apiKey, isOwn, onDone }: { apiKey: KeyFragment; isOwn: boolean; onDone: () => void }): ReactNode => (
  <Confirm
    button="Revoke…"
    name={`Revoke ${apiKey.name}`}
    className="button small"
    title={`Revoke ${apiKey.name}?`}
    does="Revoke"
    doing="Revoking…"
    mutation={RevokeKeyDocument}
    variables={{ id: apiKey.id }}
    onDone={onDone}
  >
    Requests with <code>{apiKey.prefix}…</code>, and with tokens made by this key, will be refused.
    {isOwn && <b> You are signed in with this key, and will be signed out.</b>}
  </Confirm>
);

/** The project's keys: the list, the form for a new key, and revocation. */
export function Keys(): ReactNode {
  const { data, error, retry, again } = useAsked({ query: KeysDocument });
  const { secret } = useCredential();
  const list = useRef<HTMLDivElement>(null);
  /** Of the whole secrets the server keeps only hashes, so the page compares what it is shown. */
  const isOwn = ({ prefix }: KeyFragment): boolean => secret?.startsWith(prefix) ?? false;
  const keys = data?.project.apiKeys.toSorted((a, b) => Number(Boolean(a.revokedAt)) - Number(Boolean(b.revokedAt)));
  return (
    <Card title="Keys">
      {error && !keys && <Problem error={error} retry={retry} />}
      {!keys && !error && <Loading lines={4} />}
      {keys && (
        <>
          <PlainTable
            ref={list}
            label="Keys"
            columns={['Name', 'Key', 'Scopes', 'Created', 'Last used']}
            buttons="Revoke"
          >
            {keys.map((apiKey) => (
              <tr key={apiKey.id} className={apiKey.revokedAt ? 'is-over' : ''}>
                <th scope="row">{apiKey.name}</th>
                <td>
                  <code>{apiKey.prefix}…</code> {isOwn(apiKey) && <span className="badge active">You</span>}
                </td>
                <td>
                  <span className="scopes">
                    {apiKey.scopes.map((scope) => (
                      <span key={scope} className="badge">
                        {scope}
                      </span>
                    ))}
                  </span>
                </td>
                <td>
                  <Moment at={apiKey.createdAt} />
                </td>
                <td>
                  {apiKey.lastUsedAt ? <Moment at={apiKey.lastUsedAt} ago /> : <span className="muted">Never</span>}
                </td>
                <td className="row-tools">
                  {apiKey.revokedAt ? (
                    <span className="muted">
                      Revoked <Moment at={apiKey.revokedAt} />
                    </span>
                  ) : (
                    // The button that had the focus goes with the key.
                    <Revoke apiKey={apiKey} isOwn={isOwn(apiKey)} onDone={() => list.current?.focus()} />
                  )}
                </td>
              </tr>
            ))}
          </PlainTable>
          <MakeKey onMade={again} />
        </>
      )}
    </Card>
  );
}
