import { useId, useState, type FormEvent, type ReactNode } from 'react';
import { createApi, explain } from './api';
import { signIn, useCredential } from './credential';
import { SignInDocument } from './generated/graphql';
import { Mark } from './icons';

/** The door: takes a key or token, and tries it before it is kept. */
export function SignInPage(): ReactNode {
  const { refusal } = useCredential();
  const [secret, setSecret] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();

  async function enter(event: FormEvent): Promise<void> {
    event.preventDefault();
    const given = secret.trim();
    if (given === '') {
      setProblem('Put in a key or a token first.');
      return;
    }
    setBusy(true);
    setProblem(null);
    const { client, streams } = createApi(given);
    const { data, error } = await client.query(SignInDocument, {}).toPromise();
    streams.dispose();
    setBusy(false);
    if (data) signIn(given);
    else if (error?.response && (error.response as Response).status === 401)
      setProblem('The server does not take this key: it is mistyped, revoked, or has run out.');
    else if (error) setProblem(explain(error));
  }

  const told = problem ?? refusal;
  return (
    <main className="door">
      <form className="door-card" onSubmit={(event) => void enter(event)} noValidate>
        <div className="brand">
          <Mark />
          <span className="brand-name">Footsteps</span>
        </div>
        <h1>Sign in</h1>
        <p className="muted">See sessions, footsteps, and who is here now.</p>
        <label htmlFor={id}>API key or access token</label>
        <input
          id={id}
          type="password"
          autoComplete="off"
          spellCheck={false}
          autoFocus
          placeholder="fs_…"
          value={secret}
          onChange={(event) => setSecret(event.target.value)}
          aria-invalid={told !== null}
          aria-describedby={`${id}-told`}
        />
        <p id={`${id}-told`} className="door-told" role="alert">
          {told}
        </p>
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
        <p className="door-note muted">
          The key needs the scope READ; MANAGE to change the project. It stays in this tab until you close it.
        </p>
      </form>
    </main>
  );
}
