import { useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import type { CombinedError } from 'urql';
import { explain, isTooMuch, isUnreachable } from './api';
import { useNow } from './clock';
import { useRights } from './credential';
import { formatAgo, formatExact, formatMoment } from './format';
import { Icon } from './icons';
import { userPath } from './paths';
import { useRetry } from './reach';

/** A time; the exact time is the tooltip. With `ago`, it is relative and updated every second. */
export function Moment({ at, ago = false }: { at: string; ago?: boolean }): ReactNode {
  const now = useNow(ago ? 1_000 : 60_000);
  const date = new Date(at);
  return (
    <time dateTime={at} title={formatExact(date)}>
      {ago ? formatAgo(date, now) : formatMoment(date, now)}
    </time>
  );
}

const HUES = 6;

/** The colour of a user: the same on every page. */
function hueOf(identity: string): number {
  let sum = 0;
  for (const letter of identity) sum = (sum * 31 + letter.codePointAt(0)!) % 9_973;
  return sum % HUES;
}

function initialsOf(text: string): string {
  const words = text.split(/[\s@._-]+/).filter(Boolean);
  const first = (word: string): string => String.fromCodePoint(word.codePointAt(0)!);
  return first(words[0] ?? '?') + (words[1] && !text.includes('@') ? first(words[1]) : '');
}

/** A user's initials in the user's colour, with a dot for a user who is online. */
export const Avatar = ({
  identity,
  name,
  online = false,
}: {
  identity: string;
  name?: string | null;
  online?: boolean;
}): ReactNode => (
  <span className={`avatar hue-${hueOf(identity)}`} aria-hidden="true">
    {initialsOf(name ?? identity).toUpperCase()}
    {online && <span className="avatar-dot" />}
  </span>
);

/**
 * A link to the user's page, for a key that can open it. It shows the name, or the identity if there is no name; the tooltip is
 * the identity.
 */
export function UserLink({ user }: { user: { identity: string; name?: string | null } | null | undefined }): ReactNode {
  const { read } = useRights();
  if (!user) return <span className="muted">No user</span>;
  if (!read) return <span className="user-link">{user.name ?? user.identity}</span>;
  return (
    <Link className="user-link" href={userPath(user.identity)} title={user.identity}>
      {user.name ?? user.identity}
    </Link>
  );
}

/** The user's name as a link, with the identity under it; the identity alone if there is no name. */
export const UserLines = ({
  user,
}: {
  user: { identity: string; name?: string | null } | null | undefined;
}): ReactNode => (
  <span className="two-lines">
    <UserLink user={user} />
    {user?.name && user.name !== user.identity && <span className="muted clip">{user.identity}</span>}
  </span>
);

/** A message for an empty list, with what the user can do. `isPage`: it is all that the page has, so it is the heading. */
export const Empty = ({
  title,
  isPage = false,
  children,
}: {
  title: string;
  isPage?: boolean;
  children?: ReactNode;
}): ReactNode => (
  <div className="state">
    {isPage ? <h1 className="state-title">{title}</h1> : <p className="state-title">{title}</p>}
    {children && <div className="state-text">{children}</div>}
  </div>
);

/**
 * An error message. With `retry` it has a button to try again, and tries by itself while the server cannot be reached, unless
 * `byItself` is false: then whoever asks does that. `less`: what would take the server less time.
 */
export function Problem({
  error,
  retry,
  byItself = true,
  less,
}: {
  error: CombinedError;
  retry?: () => void;
  byItself?: boolean;
  less?: string;
}): ReactNode {
  useRetry(byItself && retry !== undefined && isUnreachable(error), () => retry?.());
  return (
    <div className="state problem" role="alert">
      <p className="state-title">
        <Icon name="alert" /> Something went wrong
      </p>
      <p className="state-text">
        {explain(error)} {isTooMuch(error) && less}
      </p>
      {retry && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** What the server says of what was just asked of it, beside the button; null: nothing went wrong. */
export const Refusal = ({ error }: { error: CombinedError | null | undefined }): ReactNode =>
  error && (
    <p className="field-told" role="alert">
      {explain(error)}
    </p>
  );

/** Names and values, one under the other. Those without a value are left out. */
export const Facts = ({
  facts,
  className = '',
}: {
  facts: readonly (readonly [name: string, value: ReactNode])[];
  className?: string;
}): ReactNode => (
  <dl className={`facts ${className}`}>
    {facts
      .filter(([, value]) => value !== null && value !== undefined && value !== '')
      .map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
  </dl>
);

/** A word that comes into sight after two seconds. */
const Still = ({ word }: { word: string }): ReactNode => (
  <p className="still muted" role="status">
    <span className="spinner" aria-hidden="true" /> {word}
  </p>
);

/** A placeholder with `lines` lines, shown while data is loading. After two seconds it says that it goes on. */
export const Loading = ({ lines = 3, label = 'Loading' }: { lines?: number; label?: string }): ReactNode => (
  <div className="skeleton" role="status" aria-label={label}>
    {Array.from({ length: lines }, (_, line) => (
      <span key={line} />
    ))}
    <Still word={`${label}…`} />
  </div>
);

/** What is shown of an earlier question: dimmed while the new one is answered. After two seconds it says so. */
export const Dimmed = ({
  isOld,
  className = '',
  children,
}: {
  isOld: boolean;
  className?: string;
  children: ReactNode;
}): ReactNode => (
  <div className="dimmed">
    <div className={isOld ? `${className} is-old` : className} aria-busy={isOld}>
      {children}
    </div>
    {isOld && <Still word="Still loading…" />}
  </div>
);

/**
 * A list that loads more on demand: its rows (`children`), and below them `end`, or why the next rows could not be loaded.
 * Without rows: why they could not be loaded, or that there is nothing. `things`: what is listed, in the plural. `all`: the
 * path of the list without conditions; null: it has none. `conflicts`: why nothing can match. `hint`: what the list waits for.
 */
export function ListView({
  things,
  list: { rows, loading, error, retry },
  isOld,
  all,
  conflicts,
  hint,
  end,
  children,
}: {
  things: string;
  list: {
    readonly rows: readonly unknown[];
    readonly loading: boolean;
    readonly error: CombinedError | null;
    readonly retry: () => void;
  };
  isOld: boolean;
  all: string | null;
  conflicts: ReadonlyMap<string, string>;
  hint: string;
  end: string;
  children: ReactNode;
}): ReactNode {
  const problem = error && <Problem error={error} retry={retry} />;
  if (rows.length > 0)
    return (
      <Dimmed isOld={isOld}>
        {children}
        {problem ?? <p className="list-end muted">{end}</p>}
      </Dimmed>
    );
  return (
    <>
      {problem}
      {!problem && !loading && all === null && <Empty title={`No ${things} yet`}>{hint}</Empty>}
      {!problem && !loading && all !== null && (
        <Empty title={`No ${things} match`}>
          {[...conflicts.values()].map((told) => (
            <p key={told}>{told}</p>
          ))}
          <Link href={all}>Show all {things}</Link>
        </Empty>
      )}
      {loading && <Loading lines={10} label={`Loading ${things}`} />}
    </>
  );
}

/** The heading of a page, with the controls beside it. */
export const PageHead = ({ title, children }: { title: ReactNode; children?: ReactNode }): ReactNode => (
  <header className="page-head">
    <h1>{title}</h1>
    {children && <div className="page-tools">{children}</div>}
  </header>
);

/** A box with a title. */
export const Card = ({
  title,
  tools,
  children,
  className = '',
}: {
  title: ReactNode;
  tools?: ReactNode;
  children: ReactNode;
  className?: string;
}): ReactNode => (
  <section className={`card ${className}`}>
    <header className="card-head">
      <h2>{title}</h2>
      {tools && <div className="card-tools">{tools}</div>}
    </header>
    {children}
  </section>
);

/** A button that copies a text and confirms it. */
export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }): ReactNode {
  const [copied, setCopied] = useState(false);
  // Browsers offer the clipboard only on https and on this machine. Elsewhere the user selects the text.
  if (!window.isSecureContext) return null;
  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // The user, or the browser for the user, does not allow it.
      return;
    }
    setCopied(true);
    window.setTimeout(() => setCopied(false), 1_500);
  }
  return (
    <button type="button" className="button small" onClick={() => void copy()}>
      <Icon name={copied ? 'check' : 'copy'} size={15} />
      <span aria-live="polite">{copied ? 'Copied' : label}</span>
    </button>
  );
}
