import { useState, type ReactNode } from 'react';
import { useMutation } from 'urql';
import { Link } from 'wouter';
import { explain } from './api';
import { CreateKeyDocument, FirstEventDocument, type FirstEventSubscription } from './generated/graphql';
import { Icon } from './icons';
import { useLive } from './live';
import { sessionPath } from './paths';
import { Snippets } from './snippets';

type Arrived = FirstEventSubscription['eventIngested'];

/** Where sending begins: what to put into an application, and a light that goes on when it has worked. */
export function FirstEvent({ onArrived }: { onArrived?: () => void }): ReactNode {
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
          <h2 id="first-event">{arrived ? 'It works: an event has arrived' : 'Waiting for an event'}</h2>
          {arrived ? (
            <p>
              <span className="type">{arrived.type}</span> {arrived.message ?? arrived.source}
              {arrived.user && <> of {arrived.user.identity}</>}.{' '}
              {arrived.session && <Link href={sessionPath(arrived.session.id)}>See its session</Link>}
              {onArrived && (
                <button type="button" className="button small primary" onClick={onArrived}>
                  To the overview
                </button>
              )}
            </p>
          ) : (
            <p className="muted">Send one from your application. This page sees it the moment it arrives.</p>
          )}
        </div>
      </div>
      <div className="key-line">
        {key ? (
          <p>
            The key for sending is in the lines below. <b>It is shown this once.</b>
          </p>
        ) : (
          <>
            <button
              type="button"
              className="button"
              disabled={fetching}
              onClick={() => void makeKey({ name: 'Made in the dashboard', scopes: ['INGEST'] })}
            >
              Make a key for sending
            </button>
            <span className="muted">It may send and nothing else: safe to ship in a page.</span>
          </>
        )}
        {error && (
          <p className="field-told" role="alert">
            {explain(error)}
          </p>
        )}
      </div>
      <Snippets apiKey={key} />
    </section>
  );
}
