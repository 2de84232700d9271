import { useEffect, useEffectEvent, useRef, useState, type ReactNode } from 'react';
import { navigate } from 'wouter/use-browser-location';

/** In the browser's storage: "off" if somebody does not want the keys that are single letters (they disturb voice control). */
const KEY = 'footsteps.letters';

/** What can be stepped through with j and k: the link or button of each row, in the order of the page. */
const ROWS =
  '#main .row-link, #main .step > button, #main .rows a:first-of-type, #main .online-who a, #main table.plain th a';

const SHORTCUTS: readonly { keys: readonly string[]; does: string }[] = [
  { keys: ['Ctrl K'], does: 'Jump to a page, a user or a session' },
  { keys: ['/'], does: 'Search' },
  { keys: ['j', 'k'], does: 'Next row, previous row' },
  { keys: ['Enter'], does: 'Open the row' },
  { keys: ['?'], does: 'Show this list' },
];

/** In the state of the browser's history: the page that opens puts the cursor into its search. */
export const FIND = { find: true } as const;

/** Puts the cursor into the search of this page; a page without one sends the user to the sessions. */
function focusSearch(): void {
  const search = document.querySelector<HTMLInputElement>('#main input[type=search]');
  if (search) search.focus();
  else navigate('/sessions', { state: FIND });
}

/** Moves the focus to the next row (`step` 1) or the one before (-1). The first press goes to the first row in sight. */
function stepRow(step: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>(ROWS)].filter((row) => row.offsetParent !== null);
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? rows.find((row) => row.getBoundingClientRect().top >= 0) : rows[at + step];
  next?.focus({ preventScroll: true });
  // Room for what is sticky above, and for the menu of phones below.
  next?.scrollIntoView({ block: 'nearest' });
}

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** The keys of the dashboard, and the dialog that lists them. */
export function Shortcuts({ onJump }: { onJump: () => void }): ReactNode {
  const help = useRef<HTMLDialogElement>(null);
  const [letters, setLetters] = useState(() => localStorage.getItem(KEY) !== 'off');

  const onKey = useEffectEvent((event: KeyboardEvent) => {
    if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!document.querySelector('dialog[open]')) onJump();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!letters || isTyping(event.target) || document.querySelector('dialog[open]')) return;
    const action = {
      '/': focusSearch,
      '?': () => help.current?.showModal(),
      j: () => stepRow(1),
      k: () => stepRow(-1),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent): void => onKey(event);
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);

  return (
    <dialog ref={help} aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl className="key-list">
        {SHORTCUTS.map(({ keys, does }) => (
          <div key={does}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <label className="check">
        <input
          type="checkbox"
          checked={letters}
          onChange={(event) => {
            setLetters(event.target.checked);
            localStorage.setItem(KEY, event.target.checked ? 'on' : 'off');
          }}
        />
        Single keys are on (Ctrl K always is)
      </label>
      <div className="dialog-tools">
        <button type="button" className="button" autoFocus onClick={() => help.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
