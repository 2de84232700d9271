import { useState, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { Link } from 'wouter';
import { useRights } from './credential';
import { CreateKeyDocument, FirstEventDocument, type FirstEventSubscription } from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { Moment, Refusal } from './parts';
import { sessionPath } from './paths';
import { Snippets } from './snippets';

type Arrived = FirstEventSubscription['eventIngested'];

/** What the beacon says while the page waits. */
function Waiting({ latest }: { latest: string | null }): ReactNode {
  if (latest === null)
    return <p className="muted">Send an event from your application. It appears here as soon as it arrives.</p>;
  return (
    <p className="muted">
      The latest event came <Moment at={latest} ago />. The next one appears here as soon as it arrives.
    </p>
  );
}

/**
 * Shows how an application sends events, and reports the next event that arrives. `latest` is when the latest one arrived,
 * ISO 8601; null if there is none, or if the key may not see events.
 */
export function FirstEvent({
  latest = null,
  onArrived,
}: {
  latest?: string | null;
  onArrived?: () => void;
}): ReactNode {
  const { manage } = useRights();
  const [arrived, setArrived] = useState<Arrived | null>(null);
  const [{ data, error, fetching }, makeKey] = useMutation(CreateKeyDocument);
  useLive(FirstEventDocument, {}, { data: ({ eventIngested }) => setArrived(eventIngested) });
  const key = data?.createApiKey.key ?? null;

  return (
    <section className={arrived ? 'card first-event is-lit' : 'card first-event'} aria-labelledby="first-event">
      <div className="beacon" role="status">
        <span className="beacon-light" aria-hidden="true">
          <Icon name={arrived ? 'check' : 'online'} size={24} />
        </span>
        <div>
          <h2 id="first-event">
            {arrived ? 'It works: an event has arrived' : latest ? 'Send events' : 'Waiting for an event'}
          </h2>
          {arrived ? (
            <p>
              <span className="type">{arrived.type}</span> {arrived.message ?? arrived.source}
              {arrived.user && <> from {arrived.user.identity}</>}.{' '}
              {arrived.session && <Link href={sessionPath(arrived.session.id)}>View session</Link>}
              {onArrived && (
                <button type="button" className="button small primary" onClick={onArrived}>
                  Go to overview
                </button>
              )}
            </p>
          ) : (
            <Waiting latest={latest} />
          )}
        </div>
      </div>
      <div className="key-line">
        {key ? (
          <p>
            The code below contains the new key. <b>It is shown only once.</b>
          </p>
        ) : !manage ? (
          <p className="muted">
            The code needs a key with the scope INGEST. To make one here, use a key with the scope MANAGE.
          </p>
        ) : (
          <>
            <button
              type="button"
              className="button"
              disabled={fetching}
              onClick={() => void makeKey({ name: 'Created in the dashboard', scopes: ['INGEST'] })}
            >
              Create a key for sending events
            </button>
            <span className="muted">
              This key can only send events, but for any user. Use it in a web page only if that is acceptable.
            </span>
          </>
        )}
        <Refusal error={error} />
      </div>
      <Snippets apiKey={key} />
    </section>
  );
}
