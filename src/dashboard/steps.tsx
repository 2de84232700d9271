import { memo, useCallback, useEffect, useRef, useState, type ReactNode } from 'react';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { explain } from './api';
import { formatDuration, formatExact, formatSeconds } from './format';
import { StepDataDocument, type StepFragment } from './generated/graphql';
import { Icon } from './icons';
import { EventData, EventFacts } from './event-facts';
import { Loading } from './parts';
import { eventPath } from './paths';

/** A gap between two events of this length or more is shown. Seconds. */
const GAP = 60;

const secondsBetween = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1_000;

/** The time since the start of the session: +0:07, +12:30, +1:02:10. */
function offset(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `+${minutes}:${two(whole % 60)}`
    : `+${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** A message, or a source, of a closed step is cut after so many characters. */
const FOLD = 280;

/** The text, cut if it is long. A character of two units is not split. */
const folded = (text: string): string =>
  text.length > FOLD ? `${text.slice(0, FOLD).replace(/[\uD800-\uDBFF]$/, '')}…` : text;

/** The details of an event. They are read when the user opens the event. */
function StepData({ step }: { step: StepFragment }): ReactNode {
  const [{ data, error }] = useQuery({
    query: StepDataDocument,
    variables: { id: step.id },
    requestPolicy: 'cache-first',
  });
  if (error) return <p className="step-data muted">{explain(error)}</p>;
  if (!data) return <Loading lines={2} />;
  if (!data.event) return <p className="step-data muted">This event no longer exists.</p>;
  return (
    <div className="step-data">
      <EventFacts event={{ ...data.event, value: step.value, tags: step.tags }} className="compact" />
      <EventData data={data.event.data} />
      <p>
        <Link href={eventPath(step.id)}>Link to this event</Link>
      </p>
    </div>
  );
}

const Step = memo(function Step({
  step,
  start,
  isOpen,
  onOpen,
}: {
  step: StepFragment;
  start: string;
  isOpen: boolean;
  onOpen: (id: string) => void;
}): ReactNode {
  const at = new Date(step.occurredAt);
  const shown = (text: string): string => (isOpen ? text : folded(text));
  return (
    <li className={step.type === 'error' ? 'step error' : 'step'} data-step={step.id}>
      <button type="button" aria-expanded={isOpen} onClick={() => onOpen(step.id)}>
        <time className="step-time number" dateTime={step.occurredAt} title={formatExact(at)}>
          {formatSeconds(at)}
          <small>{offset(secondsBetween(start, step.occurredAt))}</small>
        </time>
        <span className="step-dot" aria-hidden="true" />
        <span className="step-text">
          <span className={step.type === 'error' ? 'type error' : 'type'}>{step.type}</span>
          {step.message && <span className="step-message">{shown(step.message)}</span>}
          {step.source && (
            <span className={step.message ? 'step-source muted' : 'step-message'}>{shown(step.source)}</span>
          )}
        </span>
        <Icon name={isOpen ? 'up' : 'down'} size={16} />
      </button>
      {isOpen && <StepData step={step} />}
    </li>
  );
});

/** So many events are drawn, or not drawn, together. */
const CHUNK = 50;
/** Chunks nearer to the window than this are drawn. Pixels. */
const NEAR = '1500px 0px';

/**
 * Some events of the list. Away from the window it keeps its height and draws nothing, so that a session of thousands of
 * events stays quick. `target`: the id of an event that is to be shown; its chunk is drawn wherever it is.
 */
function Chunk({
  steps,
  before,
  start,
  opened,
  onOpen,
  target,
}: {
  steps: readonly StepFragment[];
  before: StepFragment | undefined;
  start: string;
  opened: ReadonlySet<string>;
  onOpen: (id: string) => void;
  target: string | null;
}): ReactNode {
  const box = useRef<HTMLOListElement>(null);
  const [height, setHeight] = useState<number | null>(null);
  useEffect(() => {
    const element = box.current!;
    const observer = new IntersectionObserver(
      (seen) => setHeight(seen.at(-1)!.isIntersecting ? null : element.offsetHeight),
      { rootMargin: NEAR },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const isDrawn = height === null || steps.some(({ id }) => id === target);
  return (
    <ol ref={box} className="steps" style={isDrawn ? undefined : { height }}>
      {isDrawn &&
        steps.flatMap((step, place) => {
          const previous = place === 0 ? before : steps[place - 1];
          const gap = previous ? secondsBetween(previous.occurredAt, step.occurredAt) : 0;
          const row = <Step key={step.id} step={step} start={start} isOpen={opened.has(step.id)} onOpen={onOpen} />;
          if (gap < GAP) return [row];
          return [
            <li key={`${step.id} gap`} className="gap">
              <Icon name="clock" size={14} /> {formatDuration(gap)} without events
            </li>,
            row,
          ];
        })}
    </ol>
  );
}

/**
 * The events of a session in order, with the gaps between them. `start` is the start of the session. `target`: the event to
 * scroll to, which gets the focus; a new object with the same id scrolls again.
 */
export function Steps({
  steps,
  start,
  target,
}: {
  steps: readonly StepFragment[];
  start: string;
  target: { readonly id: string } | null;
}): ReactNode {
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const box = useRef<HTMLDivElement>(null);
  const toggle = useCallback(
    (id: string) =>
      setOpened((known) => (known.has(id) ? new Set([...known].filter((one) => one !== id)) : new Set([...known, id]))),
    [],
  );
  const isThere = target !== null && steps.some(({ id }) => id === target.id);
  useEffect(() => {
    if (!target || !isThere) return;
    const row = box.current?.querySelector<HTMLElement>(`[data-step="${target.id}"]`);
    row?.scrollIntoView({ block: 'center' });
    row?.querySelector('button')?.focus({ preventScroll: true });
  }, [target, isThere]);
  const chunks = Array.from({ length: Math.ceil(steps.length / CHUNK) }, (_, at) =>
    steps.slice(at * CHUNK, (at + 1) * CHUNK),
  );
  return (
    <div ref={box} className="step-list">
      {chunks.map((chunk, at) => (
        <Chunk
          key={chunk[0]!.id}
          steps={chunk}
          before={chunks[at - 1]?.at(-1)}
          start={start}
          opened={opened}
          onOpen={toggle}
          target={target?.id ?? null}
        />
      ))}
    </div>
  );
}
