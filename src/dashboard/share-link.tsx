import { useId, useState, type FormEvent, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { shareLink } from './credential';
import { formatExact } from './format';
import { CreateTokenDocument } from './generated/graphql';
import { IdentityList, identitiesIn } from './identity-list';
import { Card, Refusal } from './parts';
import { userPath } from './paths';
import { usersOf } from './visit-note';
import { NewSecret } from './webhooks-page';

/** How long a link may open the pages: label, seconds. */
const LIFETIMES = [
  ['15 minutes', 900],
  ['1 hour', 3_600],
  ['8 hours', 28_800],
  ['24 hours', 86_400],
] as const;

/** The form that makes a link. Whoever has the link can look at the pages, for a time, without a key. */
export function ShareLink(): ReactNode {
  const [{ data, error, fetching }, make] = useMutation(CreateTokenDocument);
  const [users, setUsers] = useState('');
  const [seconds, setSeconds] = useState(3_600);
  /** The users of the link that was made last. */
  const [shown, setShown] = useState<readonly string[] | null>(null);
  const id = useId();

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    const identities = identitiesIn(users);
    const result = await make({ scopes: ['READ'], identities, expiresIn: seconds });
    if (result.data) setShown(identities);
  }

  return (
    <Card title="Share link">
      <p className="card-note muted">
        Whoever opens the link sees these pages without a key, until the time is over. They see sessions, events with
        their data and addresses, figures, who is online, and the settings of the project. They can change nothing.
      </p>
      <form className="form stack" onSubmit={(event) => void submit(event)}>
        <div className="form-grid">
          <IdentityList
            text={users}
            note="The link shows these users alone. Leave empty to show every user of the project."
            onChange={setUsers}
          />
          <div className="field">
            <label htmlFor={id}>Valid for</label>
            <select id={id} value={seconds} onChange={(event) => setSeconds(Number(event.target.value))}>
              {LIFETIMES.map(([name, value]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
            </select>
          </div>
        </div>
        <div className="form-tools">
          <button type="submit" className="button primary" disabled={fetching}>
            Create link
          </button>
          <Refusal error={error} />
        </div>
        {data && !fetching && (
          <NewSecret secret={shareLink(shown?.length === 1 ? userPath(shown[0]!) : '/', data.createAccessToken.token)}>
            Everybody who has this link can see {usersOf(shown)}, until{' '}
            {formatExact(new Date(data.createAccessToken.expiresAt))}. Copy it now: it is shown only once. To end it
            early, revoke the key that you are signed in with.
          </NewSecret>
        )}
      </form>
    </Card>
  );
}
