import { useState, type ReactNode } from 'react';
import { Link } from 'wouter';
import type { CombinedError } from 'urql';
import { explain } from './api';
import { useNow } from './clock';
import { formatAgo, formatExact, formatMoment } from './format';
import { Icon } from './icons';
import { userPath } from './paths';

/** A moment, exact when pointed at. */
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

/** The same colour for the same user, everywhere. */
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

/** A user's initials in their colour; with a dot where they are online. */
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

/** A user as a link to their page: the name, and the identity where it says more. */
export function UserLink({ user }: { user: { identity: string; name?: string | null } | null | undefined }): ReactNode {
  if (!user) return <span className="muted">No user</span>;
  return (
    <Link className="user-link" href={userPath(user.identity)} title={user.identity}>
      {user.name ?? user.identity}
    </Link>
  );
}

/** Says that nothing is here, and what would change that. */
export const Empty = ({ title, children }: { title: string; children?: ReactNode }): ReactNode => (
  <div className="state">
    <p className="state-title">{title}</p>
    {children && <div className="state-text">{children}</div>}
  </div>
);

/** Says what went wrong, with a way to try again. */
export const Problem = ({ error, retry }: { error: CombinedError; retry?: () => void }): ReactNode => (
  <div className="state problem" role="alert">
    <p className="state-title">
      <Icon name="alert" /> That did not work
    </p>
    <p className="state-text">{explain(error)}</p>
    {retry && (
      <button type="button" className="button" onClick={retry}>
        Try again
      </button>
    )}
  </div>
);

/** The shape of what is coming. */
export const Loading = ({ lines = 3, label = 'Loading' }: { lines?: number; label?: string }): ReactNode => (
  <div className="skeleton" role="status" aria-label={label}>
    {Array.from({ length: lines }, (_, line) => (
      <span key={line} />
    ))}
  </div>
);

/** A page's heading, with what belongs beside it. */
export const PageHead = ({ title, children }: { title: ReactNode; children?: ReactNode }): ReactNode => (
  <header className="page-head">
    <h1>{title}</h1>
    {children && <div className="page-tools">{children}</div>}
  </header>
);

/** A titled box. */
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

/** Copies a text, and says so. */
export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }): ReactNode {
  const [copied, setCopied] = useState(false);
  // Only pages of this machine or over https have a clipboard; elsewhere the text can be selected.
  async function copy(): Promise<void> {
    if (!window.isSecureContext) return;
    await navigator.clipboard.writeText(text);
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
