import { useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation, useQuery } from 'urql';
import { explain } from './api';
import { CreateKeyDocument, KeysDocument, RevokeKeyDocument, type KeyFragment, type Scope } from './generated/graphql';
import { Card, CopyButton, Loading, Moment, Problem } from './parts';

const SCOPES: readonly { scope: Scope; note: string }[] = [
  { scope: 'INGEST', note: 'send events' },
  { scope: 'READ', note: 'read everything' },
  { scope: 'PRESENCE', note: 'read presence alone' },
  { scope: 'MANAGE', note: 'change the project' },
];

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
        <label htmlFor={id}>Name of a new key</label>
        <input
          id={id}
          value={name}
          maxLength={100}
          required
          placeholder="web"
          onChange={(event) => setName(event.target.value)}
        />
      </div>
      <fieldset className="field">
        <legend>It may</legend>
        <div className="checks">
          {SCOPES.map(({ scope, note }) => (
            <label key={scope}>
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={(event) =>
                  setScopes(event.target.checked ? [...scopes, scope] : scopes.filter((one) => one !== scope))
                }
              />
              <span>
                {scope} <span className="muted">{note}</span>
              </span>
            </label>
          ))}
        </div>
      </fieldset>
      <button type="submit" className="button primary" disabled={fetching || scopes.length === 0}>
        Make a key
      </button>
      {error && (
        <p className="field-told" role="alert">
          {explain(error)}
        </p>
      )}
      {data && (
        <div className="made-key" role="status">
          <p>
            <b>{data.createApiKey.apiKey.name}</b> is made. Keep it now: it is shown this once.
          </p>
          <div className="code-box one-line">
            <pre tabIndex={0}>{data.createApiKey.key}</pre>
            <CopyButton text={data.createApiKey.key} />
          </div>
        </div>
      )}
    </form>
  );
}

/** Revokes a key when that has been confirmed. */
function Revoke({ apiKey }: { apiKey: KeyFragment }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const [{ fetching, error }, revoke] = useMutation(RevokeKeyDocument);
  return (
    <>
      <button
        type="button"
        className="button small"
        onClick={() => dialog.current?.showModal()}
        aria-label={`Revoke ${apiKey.name}`}
      >
        Revoke…
      </button>
      <dialog ref={dialog} aria-label={`Revoke ${apiKey.name}`}>
        <h2>Revoke {apiKey.name}?</h2>
        <p>
          Whoever uses <code>{apiKey.prefix}…</code> is turned away from now on, and so are the tokens it has made. This
          page too, if it is the key you are signed in with.
        </p>
        {error && <p className="field-told">{explain(error)}</p>}
        <div className="dialog-tools">
          <button type="button" className="button" autoFocus onClick={() => dialog.current?.close()}>
            Keep
          </button>
          <button
            type="button"
            className="button danger"
            disabled={fetching}
            onClick={() => void revoke({ id: apiKey.id }).then(({ data }) => data && dialog.current?.close())}
          >
            Revoke
          </button>
        </div>
      </dialog>
    </>
  );
}

/** The project's keys: made, shown once, revoked. */
export function Keys(): ReactNode {
  const [{ data, error }, ask] = useQuery({ query: KeysDocument });
  const again = (): void => ask({ requestPolicy: 'network-only' });
  const keys = data?.project.apiKeys.toSorted((a, b) => Number(Boolean(a.revokedAt)) - Number(Boolean(b.revokedAt)));
  return (
    <Card title="Keys">
      {error && <Problem error={error} />}
      {!keys && !error && <Loading lines={4} />}
      {keys && (
        <>
          <div className="scroll" tabIndex={0} role="region" aria-label="Keys">
            <table className="plain">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Key</th>
                  <th scope="col">It may</th>
                  <th scope="col">Made</th>
                  <th scope="col">Last used</th>
                  <th scope="col">
                    <span className="hidden">Revoke</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {keys.map((apiKey) => (
                  <tr key={apiKey.id} className={apiKey.revokedAt ? 'is-over' : ''}>
                    <th scope="row">{apiKey.name}</th>
                    <td>
                      <code>{apiKey.prefix}…</code>
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
                        <Revoke apiKey={apiKey} />
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <MakeKey onMade={again} />
        </>
      )}
    </Card>
  );
}
