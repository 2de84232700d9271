import { useId, useState, type KeyboardEvent, type ReactNode } from 'react';
import type { SessionRowFragment } from './generated/graphql';
import { Icon } from './icons';
import { localInput } from './range';
import { END_REASONS, jsonObject, LISTS } from './session-filter';

type Change = (changes: Readonly<Record<string, string | readonly string[] | null>>) => void;

/** What the rows at hand have, to be offered while somebody types. */
function suggestionsOf(rows: readonly SessionRowFragment[], param: string): string[] {
  const pick: Record<string, (row: SessionRowFragment) => string | null | undefined> = {
    user: ({ user }) => user?.identity,
    browser: ({ browser }) => browser?.name,
    system: ({ os }) => os?.name,
    device: ({ device }) => device,
  };
  const of = pick[param];
  if (!of) return [];
  return [...new Set(rows.map(of).filter((value) => typeof value === 'string'))].toSorted().slice(0, 50);
}

/** A list of words: Enter adds one, pressing one takes it away. */
function Words({
  name,
  hint,
  values,
  suggestions,
  onChange,
}: {
  name: string;
  hint: string;
  values: readonly string[];
  suggestions: readonly string[];
  onChange: (values: readonly string[]) => void;
}): ReactNode {
  const id = useId();
  const [text, setText] = useState('');
  function add(): void {
    const word = text.trim();
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

/** A word of the filter, with a way to take it out. */
export const Chip = ({ text, onRemove }: { text: string; onRemove: () => void }): ReactNode => (
  <button type="button" className="chip" onClick={onRemove} aria-label={`Remove ${text}`}>
    <span className="clip">{text}</span>
    <Icon name="close" size={13} />
  </button>
);

/** A choice of a few words, one of which is no choice. */
function Choice({
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

function MomentInput({
  name,
  value,
  onChange,
}: {
  name: string;
  value: string;
  onChange: (iso: string) => void;
}): ReactNode {
  const id = useId();
  const at = Date.parse(value);
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <input
        id={id}
        type="datetime-local"
        defaultValue={Number.isNaN(at) ? '' : localInput(at)}
        onChange={(event) => {
          const chosen = new Date(event.target.value);
          onChange(Number.isNaN(chosen.getTime()) ? '' : chosen.toISOString());
        }}
      />
    </div>
  );
}

function DataInput({ value, onChange }: { value: string; onChange: (text: string) => void }): ReactNode {
  const id = useId();
  const [text, setText] = useState(value);
  const isWrong = text.trim() !== '' && !jsonObject(text);
  return (
    <div className="field wide">
      <label htmlFor={id}>Data contains (JSON)</label>
      <input
        id={id}
        className="code"
        value={text}
        placeholder='{"plan": "pro"}'
        spellCheck={false}
        aria-invalid={isWrong}
        aria-describedby={isWrong ? `${id}-told` : undefined}
        onChange={(event) => {
          setText(event.target.value);
          if (event.target.value.trim() === '' || jsonObject(event.target.value)) onChange(event.target.value.trim());
        }}
      />
      {isWrong && (
        <p id={`${id}-told`} className="field-told">
          This is no JSON object yet.
        </p>
      )}
    </div>
  );
}

/** Everything that sessions can be told apart by. */
export function FilterPanel({
  params,
  rows,
  onChange,
}: {
  params: URLSearchParams;
  rows: readonly SessionRowFragment[];
  onChange: Change;
}): ReactNode {
  const get = (name: string): string => params.get(name) ?? '';
  const reasons = params.getAll('end');
  const id = useId();
  return (
    <div className="filter-panel card">
      {LISTS.map(({ param, name, hint }) => (
        <Words
          key={param}
          name={name}
          hint={hint}
          values={params.getAll(param)}
          suggestions={suggestionsOf(rows, param)}
          onChange={(values) => onChange({ [param]: values })}
        />
      ))}
      <MomentInput name="Started from" value={get('from')} onChange={(from) => onChange({ from })} />
      <MomentInput name="Started before" value={get('to')} onChange={(to) => onChange({ to })} />
      <MomentInput name="There from" value={get('activeFrom')} onChange={(activeFrom) => onChange({ activeFrom })} />
      <MomentInput name="There until" value={get('activeTo')} onChange={(activeTo) => onChange({ activeTo })} />
      <div className="field">
        <label htmlFor={`${id}-min`}>At least (seconds)</label>
        <input
          id={`${id}-min`}
          type="number"
          min={0}
          defaultValue={get('min')}
          onChange={(event) => onChange({ min: event.target.value })}
        />
      </div>
      <div className="field">
        <label htmlFor={`${id}-max`}>At most (seconds)</label>
        <input
          id={`${id}-max`}
          type="number"
          min={0}
          defaultValue={get('max')}
          onChange={(event) => onChange({ max: event.target.value })}
        />
      </div>
      <Choice
        name="Errors"
        value={get('errors')}
        options={[
          ['', 'With or without'],
          ['yes', 'With errors'],
          ['no', 'Without errors'],
        ]}
        onChange={(errors) => onChange({ errors })}
      />
      <Choice
        name="Bots"
        value={get('bot')}
        options={[
          ['', 'People and bots'],
          ['no', 'People alone'],
          ['yes', 'Bots alone'],
        ]}
        onChange={(bot) => onChange({ bot })}
      />
      <fieldset className="field">
        <legend>Ended because the user</legend>
        <div className="checks">
          {Object.entries(END_REASONS).map(([key, name]) => (
            <label key={key}>
              <input
                type="checkbox"
                checked={reasons.includes(key)}
                onChange={(event) =>
                  onChange({ end: event.target.checked ? [...reasons, key] : reasons.filter((one) => one !== key) })
                }
              />
              {name}
            </label>
          ))}
        </div>
      </fieldset>
      <DataInput value={get('data')} onChange={(data) => onChange({ data })} />
    </div>
  );
}
