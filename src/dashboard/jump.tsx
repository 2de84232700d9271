import { useEffect, useId, useState, type FormEvent, type KeyboardEvent, type ReactNode, type RefObject } from 'react';
import { useQuery } from 'urql';
import { useLocation } from 'wouter';
import { useRights } from './credential';
import { JumpDocument, type JumpQuery } from './generated/graphql';
import { Icon } from './icons';
import { eventPath, sessionPath, userPath } from './paths';
import { PLACES } from './places';

/** The server is asked when the user has not typed for this long. Milliseconds. */
const PAUSE = 150;
/** At most so many users are offered. */
const MOST_USERS = 6;

interface Target {
  readonly path: string;
  readonly name: string;
  readonly note: string;
}

/** The type of a global id, e.g. Session; null if the text is none. */
function typeOfId(text: string): string | null {
  try {
    return /^(\w+):[\da-f-]{36}$/.exec(atob(text))?.[1] ?? null;
  } catch {
    return null;
  }
}

function usersIn(data: JumpQuery | undefined): Target[] {
  const users = new Map(data?.sessions.nodes.flatMap(({ user }) => (user ? [[user.identity, user] as const] : [])));
  return [...users.values()].slice(0, MOST_USERS).map(({ identity, name }) => ({
    path: userPath(identity),
    name: name ?? identity,
    note: name ? identity : 'User',
  }));
}

function Options({ onGone }: { onGone: () => void }): ReactNode {
  const [, navigate] = useLocation();
  const rights = useRights();
  const [text, setText] = useState('');
  const [asked, setAsked] = useState('');
  const [chosen, setChosen] = useState(0);
  const id = useId();
  const word = text.trim();
  useEffect(() => {
    const timer = window.setTimeout(() => setAsked(word), PAUSE);
    return () => window.clearTimeout(timer);
  }, [word]);
  const [{ data }] = useQuery({
    query: JumpDocument,
    variables: { search: asked },
    pause: asked === '' || !rights.read,
    requestPolicy: 'network-only',
  });

  const pages = PLACES.filter(
    ({ name, needs, ...place }) =>
      'icon' in place && (needs === null || rights[needs]) && name.toLowerCase().includes(word.toLowerCase()),
  ).map(({ path, name }) => ({ path, name, note: 'Page' }));
  const targets: Target[] = [
    ...(typeOfId(word) === 'Session' ? [{ path: sessionPath(word), name: 'Session', note: word }] : []),
    ...(typeOfId(word) === 'Event' ? [{ path: eventPath(word), name: 'Event', note: word }] : []),
    ...pages,
    ...(word !== '' && asked === word ? usersIn(data) : []),
    ...(word !== '' && rights.read
      ? [{ path: `/sessions?${new URLSearchParams({ q: word })}`, name: `Sessions of “${word}”`, note: 'Search' }]
      : []),
  ];
  const at = Math.min(chosen, targets.length - 1);

  function go(target: Target | undefined): void {
    if (!target) return;
    onGone();
    navigate(target.path);
  }
  function onKeyDown(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    setChosen((at + step + targets.length) % targets.length);
  }

  return (
    <form
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        go(targets[at]);
      }}
    >
      <div className="search-box">
        <Icon name="search" size={17} />
        <input
          type="text"
          role="combobox"
          aria-label="Jump to a page, a user, a session or an event"
          aria-expanded={targets.length > 0}
          aria-controls={id}
          aria-activedescendant={targets.length > 0 ? `${id}-${at}` : undefined}
          aria-autocomplete="list"
          autoComplete="off"
          spellCheck={false}
          autoFocus
          placeholder="A page, a user, an id…"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setChosen(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      <ul id={id} role="listbox" aria-label="Targets" className="jump-list">
        {targets.map((target, place) => (
          <li
            key={`${target.path} ${target.note}`}
            id={`${id}-${place}`}
            role="option"
            aria-selected={place === at}
            onClick={() => go(target)}
          >
            <span className="clip">{target.name}</span>
            <span className="muted clip">{target.note}</span>
          </li>
        ))}
      </ul>
    </form>
  );
}

/** The dialog in which the user types where to go. */
export function Jump({ dialog }: { dialog: RefObject<HTMLDialogElement | null> }): ReactNode {
  // Each opening begins anew.
  const [isOpen, setOpen] = useState(false);
  return (
    <dialog
      ref={dialog}
      className="jump"
      aria-label="Jump"
      // Not `toggle`, which comes later: what is typed at once would be lost.
      onBeforeToggle={(event) => setOpen(event.newState === 'open')}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current.close();
      }}
    >
      {isOpen && <Options onGone={() => dialog.current?.close()} />}
    </dialog>
  );
}
