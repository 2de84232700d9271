import { useId, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { count, formatExact } from './format';
import { CreateTokenDocument, type Scope } from './generated/graphql';
import { IdentityList, identitiesIn } from './identity-list';
import { Card, Refusal } from './parts';
import { ScopeChecks, useScopes } from './scopes';
import { NewSecret } from './webhooks-page';

/** The form that makes an access token. Tokens are not listed: the server keeps none. */
export function Tokens(): ReactNode {
  const [{ data, error, fetching }, make] = useMutation(CreateTokenDocument);
  const offered = useScopes().filter(({ scope }) => scope !== 'MANAGE');
  const [scopes, setScopes] = useState<readonly Scope[]>(['READ']);
  const [users, setUsers] = useState('');
  const [minutes, setMinutes] = useState('60');
  /** The users of the token that was made last. */
  const [holders, setHolders] = useState<readonly string[] | null>(null);
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const identities = identitiesIn(users);
    const result = await make({ scopes: [...scopes], identities, expiresIn: Math.round(Number(minutes) * 60) });
    if (result.data) setHolders(identities);
  }

  return (
    <Card title="Access tokens">
      <p className="card-note muted">
        A token is for a front end, in the place of a key. It ends by itself. Tokens are not listed here, because the
        server does not keep them. To end one early, revoke the key that made it: the key that you are signed in with.
      </p>
      <form className="form stack" onSubmit={(event) => void submit(event)}>
        <ScopeChecks offered={offered} chosen={scopes} onChange={setScopes} />
        <div className="form-grid">
          <IdentityList
            text={users}
            note="The token reads and sends for these users alone. Leave empty for every user of the project."
            onChange={setUsers}
          />
          <div className="field">
            <label htmlFor={id}>Lifetime (minutes)</label>
            <input
              id={id}
              type="number"
              required
              min={1}
              max={1_440}
              value={minutes}
              onChange={(event) => setMinutes(event.target.value)}
            />
            <p className="field-note muted">At most 1,440: one day.</p>
          </div>
        </div>
        <div className="form-tools">
          <button type="submit" className="button primary" disabled={fetching || scopes.length === 0}>
            Create token
          </button>
          <Refusal error={error} />
        </div>
        {data && !fetching && (
          <NewSecret secret={data.createAccessToken.token}>
            A token for {holders ? count(holders.length, 'user') : 'every user'} was created. It is valid until{' '}
            {formatExact(new Date(data.createAccessToken.expiresAt))}. Copy the token now: it is shown only once.
          </NewSecret>
        )}
      </form>
    </Card>
  );
}
