import type { ReactNode } from 'react';
import { CopyButton, Facts, Moment } from './parts';

/** The small attributes of an event; those that it does not have are left out. */
export function EventFacts({
  event,
  className = '',
}: {
  event: {
    readonly receivedAt: string;
    readonly referenceId?: string | null;
    readonly version?: string | null;
    readonly value?: number | null;
    readonly tags: readonly string[];
  };
  className?: string;
}): ReactNode {
  const facts: readonly (readonly [name: string, value: ReactNode])[] = [
    ['Received', <Moment key="received" at={event.receivedAt} />],
    ['Reference ID', event.referenceId],
    ['Version', event.version],
    ['Value', event.value ?? null],
    ['Tags', event.tags.join(', ')],
  ];
  return <Facts facts={facts} className={className} />;
}

/** The data of an event as JSON, with a button to copy it. */
export function EventData({ data }: { data: Record<string, unknown> }): ReactNode {
  const text = JSON.stringify(data, null, 2);
  if (text === '{}') return <p className="muted">No data.</p>;
  return (
    <div className="code-box">
      <CopyButton text={text} />
      <pre tabIndex={0} aria-label="Event data">
        {text}
      </pre>
    </div>
  );
}
