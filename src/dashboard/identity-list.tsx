import { useId, type ReactNode } from 'react';

/** The users that a text names, one on each line; null if it names none, which stands for every user. */
export function identitiesIn(text: string): string[] | null {
  const lines = text.split('\n').flatMap((line) => line.trim() || []);
  return lines.length > 0 ? lines : null;
}

/** The field for the users that a token is narrowed to. `note` says what an empty field means. */
export function IdentityList({
  text,
  note,
  onChange,
}: {
  text: string;
  note: string;
  onChange: (text: string) => void;
}): ReactNode {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>Users, one identity per line</label>
      <textarea
        id={id}
        rows={3}
        className="code"
        spellCheck={false}
        placeholder="ada@example.com"
        value={text}
        aria-describedby={`${id}-note`}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-note`} className="field-note muted">
        {note}
      </p>
    </div>
  );
}
