import { useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { explain } from './api';
import { formatDuration, formatExact, formatSeconds } from './format';
import { StepDataDocument, type StepFragment } from './generated/graphql';
import { Icon } from './icons';
import { CopyButton, Loading, Moment } from './parts';

/** A silence longer than this is shown as one. Seconds. */
const GAP = 60;

const secondsBetween = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1_000;

/** +0:07, +12:30, +1:02:10 after the start. */
function offset(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `+${minutes}:${two(whole % 60)}`
    : `+${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** What came with an event. It is asked for when somebody wants to see it. */
function StepData({ step }: { step: StepFragment }): ReactNode {
  const [{ data, error }] = useQuery({
    query: StepDataDocument,
    variables: { id: step.id },
    requestPolicy: 'cache-first',
  });
  if (error) return <p className="step-data muted">{explain(error)}</p>;
  if (!data) return <Loading lines={2} />;
  const event = data.event;
  if (!event) return <p className="step-data muted">The event is gone.</p>;
  const text = JSON.stringify(event.data, null, 2);
  return (
    <div className="step-data">
      <dl className="facts compact">
        <div>
          <dt>Arrived</dt>
          <dd>
            <Moment at={event.receivedAt} />
          </dd>
        </div>
        {event.referenceId && (
          <div>
            <dt>Reference</dt>
            <dd>{event.referenceId}</dd>
          </div>
        )}
        {step.value != null && (
          <div>
            <dt>Value</dt>
            <dd>{step.value}</dd>
          </div>
        )}
        {step.tags.length > 0 && (
          <div>
            <dt>Tags</dt>
            <dd>{step.tags.join(', ')}</dd>
          </div>
        )}
      </dl>
      {text === '{}' ? (
        <p className="muted">No data came with it.</p>
      ) : (
        <div className="code-box">
          <CopyButton text={text} />
          <pre tabIndex={0} aria-label="Data of the event">
            {text}
          </pre>
        </div>
      )}
    </div>
  );
}

function Step({ step, start }: { step: StepFragment; start: string }): ReactNode {
  const [isOpen, setOpen] = useState(false);
  const at = new Date(step.occurredAt);
  return (
    <li className={step.type === 'error' ? 'step error' : 'step'} data-step={step.id}>
      <button type="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <time className="step-time number" dateTime={step.occurredAt} title={formatExact(at)}>
          {formatSeconds(at)}
          <small>{offset(secondsBetween(start, step.occurredAt))}</small>
        </time>
        <span className="step-dot" aria-hidden="true" />
        <span className="step-text">
          <span className={step.type === 'error' ? 'type error' : 'type'}>{step.type}</span>
          {step.message && <span className="step-message">{step.message}</span>}
          {step.source && <span className={step.message ? 'step-source muted' : 'step-message'}>{step.source}</span>}
        </span>
        <Icon name={isOpen ? 'up' : 'down'} size={16} />
      </button>
      {isOpen && <StepData step={step} />}
    </li>
  );
}

/** The footsteps: events in their order, with the silences between them. */
export function Steps({ steps, start }: { steps: readonly StepFragment[]; start: string }): ReactNode {
  return (
    <ol className="steps">
      {steps.flatMap((step, place) => {
        const before = steps[place - 1];
        const gap = before ? secondsBetween(before.occurredAt, step.occurredAt) : 0;
        const row = <Step key={step.id} step={step} start={start} />;
        if (gap < GAP) return [row];
        return [
          <li key={`${step.id} gap`} className="gap">
            <Icon name="clock" size={14} /> {formatDuration(gap)} of silence
          </li>,
          row,
        ];
      })}
    </ol>
  );
}
