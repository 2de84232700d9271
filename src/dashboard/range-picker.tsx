import { useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { Link } from 'wouter';
import { navigate } from 'wouter/use-browser-location';
import { useParams } from './address';
import { withParams } from './conditions';
import { textOf } from './form';
import { rangeParams, RANGES, type Range } from './range';
import { instantIn, localInput } from './zone';

/** The choice of the time range of the overview. The other parameters of the address stay. */
export function RangePicker({ range }: { range: Range }): ReactNode {
  const [isOpen, setOpen] = useState(false);
  const [isBackwards, setBackwards] = useState(false);
  const params = useParams();
  const id = useId();
  const opener = useRef<HTMLButtonElement>(null);

  /** What had the focus goes away with the form. */
  function close(): void {
    setOpen(false);
    opener.current?.focus();
  }

  function choose(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [from, to] = [instantIn(textOf(form, 'from')), instantIn(textOf(form, 'to'))];
    setBackwards(!(from < to));
    if (!(from < to)) return;
    close();
    navigate(`/${withParams(params, rangeParams(from, to))}`);
  }

  return (
    <div className="range">
      <div className="segments" role="group" aria-label="Time range">
        {RANGES.map(({ key, name }) => (
          <Link
            key={key}
            href={`/${withParams(params, { range: key, from: null, to: null })}`}
            aria-current={range.key === key ? 'true' : undefined}
          >
            {name}
          </Link>
        ))}
        <button
          ref={opener}
          type="button"
          aria-expanded={isOpen}
          aria-controls={id}
          className={range.key === null ? 'chosen' : ''}
          onClick={() => setOpen(!isOpen)}
        >
          Custom
        </button>
      </div>
      {isOpen && (
        <form id={id} className="popover" onSubmit={choose} onKeyDown={(event) => event.key === 'Escape' && close()}>
          <label>
            From
            <input type="datetime-local" name="from" required defaultValue={localInput(range.from)} autoFocus />
          </label>
          <label>
            To
            <input
              type="datetime-local"
              name="to"
              required
              defaultValue={localInput(range.to)}
              aria-invalid={isBackwards}
              aria-describedby={isBackwards ? `${id}-told` : undefined}
            />
          </label>
          {isBackwards && (
            <p id={`${id}-told`} className="field-told" role="alert">
              “From” is not before “To”.
            </p>
          )}
          <button type="submit" className="button primary">
            Apply
          </button>
        </form>
      )}
    </div>
  );
}
