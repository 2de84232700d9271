import { useEffect, useId, useState, type ComponentProps, type KeyboardEvent, type ReactNode } from 'react';
import { changeAddress, useParams } from './address';
import { jsonObject, type Condition, type Offered } from './conditions';
import { formatNumber } from './format';
import { Icon } from './icons';
import { FIND } from './shortcuts';
import { useSuggestions } from './suggestions';
import { instantIn, localInput } from './zone';

/**
 * An input of a list of words. Enter adds a word; pressing a word removes it. It suggests the values of the server that are
 * `offered`, and those that the page has already (`known`).
 */
function Words({
  name,
  hint,
  values,
  offered,
  known,
  onChange,
}: {
  name: string;
  hint: string;
  values: readonly string[];
  offered: Offered | null;
  known: readonly string[];
  onChange: (values: readonly string[]) => void;
}): ReactNode {
  const id = useId();
  const [text, setText] = useState('');
  const [isUsed, setUsed] = useState(false);
  const suggestions = [...new Set([...useSuggestions(offered, isUsed), ...known])];
  function add(): void {
    const typed = text.trim();
    // The server wants the exact letters: the case of a known value is taken from it.
    const word = suggestions.find((one) => one.toLowerCase() === typed.toLowerCase()) ?? typed;
    setText('');
    if (word !== '' && !values.includes(word)) onChange([...values, word]);
  }
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    add();
  }
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <input
        id={id}
        value={text}
        placeholder={hint}
        list={suggestions.length > 0 ? `${id}-list` : undefined}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
        onFocus={() => setUsed(true)}
        onBlur={add}
      />
      {suggestions.length > 0 && (
        <datalist id={`${id}-list`}>
          {suggestions.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
      {values.length > 0 && (
        <div className="chips">
          {values.map((value) => (
            <Chip key={value} text={value} onRemove={() => onChange(values.filter((one) => one !== value))} />
          ))}
        </div>
      )}
    </div>
  );
}

/** A condition that is a list of words: name in the address, label, example, and what the server offers. */
interface WordList {
  readonly param: string;
  readonly name: string;
  readonly hint: string;
  readonly offered: Offered | null;
}

/** The users of the loaded rows that are suggested, at most. */
const MOST_KNOWN = 50;

/** The conditions of a filter that are lists of words. The users of the loaded rows are suggested. */
export function WordLists({
  lists,
  params,
  rows,
}: {
  lists: readonly WordList[];
  params: URLSearchParams;
  rows: readonly { readonly user?: { readonly identity: string } | null }[];
}): ReactNode {
  const identities = [...new Set(rows.flatMap(({ user }) => (user ? [user.identity] : [])))].toSorted();
  return lists.map(({ param, name, hint, offered }) => (
    <Words
      key={param}
      name={name}
      hint={hint}
      values={params.getAll(param)}
      offered={offered}
      known={param === 'user' ? identities.slice(0, MOST_KNOWN) : []}
      onChange={(values) => changeAddress({ [param]: values })}
    />
  ));
}

/** Gives the focus of a chip that goes away to the one beside it or, from the last one, to its field or the page. */
function handOn(chip: HTMLElement): void {
  const box = chip.parentElement!;
  const next =
    box.querySelectorAll('.chip').length > 1
      ? (chip.nextElementSibling ?? chip.previousElementSibling)
      : (box.closest('.field')?.querySelector('input') ?? document.querySelector('#main'));
  (next as HTMLElement | null)?.focus({ preventScroll: true });
}

/** One condition of the filter. Pressing it removes it. */
const Chip = ({ text, onRemove }: { text: string; onRemove: () => void }): ReactNode => (
  <button
    type="button"
    className="chip"
    onClick={(event) => {
      handOn(event.currentTarget);
      onRemove();
    }}
    aria-label={`Remove ${text}`}
  >
    <span className="clip">{text}</span>
    <Icon name="close" size={13} />
  </button>
);

/** A select of a few options. The value '' means no condition. */
export function Choice({
  name,
  value,
  options,
  onChange,
}: {
  name: string;
  value: string;
  options: readonly (readonly [value: string, name: string])[];
  onChange: (value: string) => void;
}): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

/** An input with a label. `told` says why its value cannot be. */
export function Input({
  name,
  told,
  ...input
}: { name: string; told?: string | undefined } & ComponentProps<'input'>): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <input id={id} aria-invalid={told !== undefined} aria-describedby={told && `${id}-told`} {...input} />
      {told && (
        <p id={`${id}-told`} className="field-told">
          {told}
        </p>
      )}
    </div>
  );
}

/**
 * The text of an input whose value is in the address too. `means` gives the value that a text stands for, and `shown`
 * the text of a value. The text follows when the value changes by other means: a link, the way back, a chip.
 */
function useText(
  value: string,
  means: (text: string) => string | null,
  shown: (value: string) => string,
): [text: string, setText: (text: string) => void] {
  const [{ text, known }, setState] = useState(() => ({ text: shown(value), known: value }));
  if (value !== known) setState({ text: means(text) === value ? text : shown(value), known: value });
  return [text, (typed) => setState({ text: typed, known: value })];
}

/** What a field of the browser for an instant says, as text of the address: '' while it is not whole. */
function instantOf(text: string): string {
  const chosen = instantIn(text);
  return Number.isNaN(chosen) ? '' : new Date(chosen).toISOString();
}

/** The text that a field of the browser for an instant wants. */
function inputOf(iso: string): string {
  const at = Date.parse(iso);
  return Number.isNaN(at) ? '' : localInput(at);
}

/** An input of an instant, in the zone of the page. */
export function MomentInput({
  name,
  value,
  told,
  onChange,
}: {
  name: string;
  value: string;
  told?: string | undefined;
  onChange: (iso: string) => void;
}): ReactNode {
  const [text, setText] = useText(value, instantOf, inputOf);
  return (
    <Input
      name={name}
      told={told}
      type="datetime-local"
      value={text}
      onChange={(event) => {
        setText(event.target.value);
        onChange(instantOf(event.target.value));
      }}
    />
  );
}

/** The text without spaces around it if it is a JSON object or empty; null if it is anything else. */
function jsonOf(text: string): string | null {
  const json = text.trim();
  return json === '' || jsonObject(json) ? json : null;
}

/** An input of a JSON object. */
export function DataInput({
  name = 'Data contains (JSON)',
  value,
  onChange,
}: {
  name?: string;
  value: string;
  onChange: (text: string) => void;
}): ReactNode {
  const id = useId();
  const [text, setText] = useText(value, jsonOf, (json) => json);
  const json = jsonOf(text);
  return (
    <div className="field wide">
      <label htmlFor={id}>{name}</label>
      <input
        id={id}
        className="code"
        value={text}
        placeholder='{"plan": "pro"}'
        spellCheck={false}
        aria-invalid={json === null}
        aria-describedby={json === null ? `${id}-told` : undefined}
        onChange={(event) => {
          setText(event.target.value);
          const next = jsonOf(event.target.value);
          if (next !== null) onChange(next);
        }}
      />
      {json === null && (
        <p id={`${id}-told`} className="field-told">
          Enter a valid JSON object.
        </p>
      )}
    </div>
  );
}

/** So many conditions are shown at first: those of a long list would push the table away. */
const MOST_CHIPS = 10;

/** The conditions in force, and buttons to see all of them and to remove all. */
export function ActiveChips({
  conditions,
  onClear,
}: {
  conditions: readonly Condition[];
  onClear: () => void;
}): ReactNode {
  const [isWhole, setWhole] = useState(false);
  const more = conditions.length - MOST_CHIPS;
  return (
    <div className="chips active-chips">
      {(isWhole ? conditions : conditions.slice(0, MOST_CHIPS)).map(({ text, remove }) => (
        <Chip key={text} text={text} onRemove={() => changeAddress(remove)} />
      ))}
      {more > 0 && (
        <button type="button" className="button small quiet" aria-expanded={isWhole} onClick={() => setWhole(!isWhole)}>
          {isWhole ? 'Show fewer' : `${formatNumber(more)} more`}
        </button>
      )}
      <button
        type="button"
        className="button small quiet"
        onClick={() => {
          document.querySelector<HTMLElement>('#main')?.focus({ preventScroll: true });
          onClear();
        }}
      >
        Clear all
      </button>
    </div>
  );
}

/** The search starts when the user has not typed for this long. Milliseconds. */
const PAUSE = 200;

/** The search of a page: the parameter `q` of its address. */
export function SearchBox({ name, hint }: { name: string; hint: string }): ReactNode {
  const value = useParams().get('q') ?? '';
  const [text, setText] = useText(
    value,
    (typed) => typed.trim(),
    (q) => q,
  );
  useEffect(() => {
    const q = text.trim();
    if (q === value) return undefined;
    const timer = window.setTimeout(() => changeAddress({ q }), PAUSE);
    return () => window.clearTimeout(timer);
  }, [text, value]);
  return (
    <div className="search-box">
      <Icon name="search" size={17} />
      <input
        type="search"
        aria-label={name}
        placeholder={hint}
        autoFocus={(window.history.state as typeof FIND | null)?.find === true}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
    </div>
  );
}
