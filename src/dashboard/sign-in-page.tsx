import { useEffect, useId, useState, type FormEvent, type ReactNode } from 'react';
import type { CombinedError } from 'urql';
import { createApi, explain } from './api';
import { signIn, useCredential } from './credential';
import { Mark } from './icons';
import { askRights } from './rights';

function reasonOf(error: CombinedError, isShared: boolean): string {
  if ((error.response as Response | undefined)?.status === 401) {
    return isShared
      ? 'This link is not valid any more. Ask for a new one, or sign in with a key.'
      : 'This key is not valid. It may be mistyped, revoked or expired.';
  }
  return explain(error);
}

/** Tries a key or token. Signs in with it, or returns the reason why not. `isShared`: it came with a share link. */
async function tryKey(given: string, inBrowser: boolean, isShared: boolean): Promise<string | null> {
  const { client, streams } = createApi(given);
  const found = await askRights(client);
  streams.dispose();
  if ('error' in found) return reasonOf(found.error, isShared);
  if (!Object.values(found.rights).includes(true))
    return 'This key is valid, but it can only send events. Use a key with the scope READ to see sessions, or MANAGE to change the project.';
  signIn(given, found.rights, inBrowser);
  return null;
}

/** The sign-in page. It tries a key or token on the server, and asks what it may do, before it stores it. */
export function SignInPage(): ReactNode {
  const { refusal, offered } = useCredential();
  const [secret, setSecret] = useState('');
  const [isKept, setKept] = useState(false);
  const [isTrying, setTrying] = useState(false);
  /** The share link that was tried last, and the reason why it did not sign in. */
  const [shared, setShared] = useState<{ token: string; reason: string | null } | null>(null);
  const busy = isTrying || (offered !== undefined && shared?.token !== offered);
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();

  async function enter(event: FormEvent): Promise<void> {
    event.preventDefault();
    const given = secret.trim();
    if (given === '') {
      setProblem('Enter a key or a token.');
      return;
    }
    setTrying(true);
    setProblem(null);
    setProblem(await tryKey(given, isKept, false));
    setTrying(false);
  }

  // A share link signs in by itself, in this tab alone.
  useEffect(() => {
    if (offered === undefined) return;
    void tryKey(offered, false, true).then((reason) => setShared({ token: offered, reason }));
  }, [offered]);

  // The result of the last try is hidden during the next try.
  const told = busy ? null : (problem ?? shared?.reason ?? refusal);
  return (
    <main className="door">
      <form className="door-card" onSubmit={(event) => void enter(event)} noValidate>
        <div className="brand">
          <Mark />
          <span className="brand-name">Footsteps</span>
        </div>
        <h1>Sign in</h1>
        <p className="muted">See user sessions, event by event, and who is online now.</p>
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
        <label className="check door-keep">
          <input
            type="checkbox"
            checked={isKept}
            onChange={(event) => setKept(event.target.checked)}
            aria-describedby={`${id}-note`}
          />
          Keep me signed in on this browser
        </label>
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
        <p id={`${id}-note`} className="door-note muted">
          {isKept
            ? 'The key is stored in this browser, for all tabs, until you sign out. Whoever uses this browser can then see and do what the key allows. Do not choose this on a shared computer.'
            : 'The key is kept in this tab until you close it. A link in a new tab asks for it again.'}{' '}
          It needs the scope READ, and MANAGE to change the project.
        </p>
      </form>
    </main>
  );
}
