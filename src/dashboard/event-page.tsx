import type { ReactNode } from 'react';
import { Link } from 'wouter';
import { useAsked } from './answer';
import { EventData, EventFacts } from './event-facts';
import { formatExact } from './format';
import { EventDocument } from './generated/graphql';
import { Icon } from './icons';
import { NotFound } from './not-found';
import { Card, Loading, Moment, PageHead, Problem, UserLines } from './parts';
import { stepPath } from './paths';
import { useTitle } from './title';

/** The page of one event: all of it, and the way to its user and its place in the session. */
export function EventPage({ id }: { id: string }): ReactNode {
  const { data, error, retry } = useAsked({ query: EventDocument, variables: { id } });
  const event = data?.event;
  useTitle(event ? `${event.message?.slice(0, 60) ?? event.source ?? event.type}, event` : 'Event');
  if (error && !data) return <Problem error={error} retry={retry} />;
  if (!data) return <Loading lines={8} label="Loading event" />;
  if (!event) {
    return <NotFound title="Event not found" path="/events" list="events" />;
  }
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link href="/events">Events</Link>
        <Icon name="right" size={14} />
        <span aria-current="page">Event</span>
      </nav>
      <PageHead
        title={
          <>
            <span className={event.type === 'error' ? 'type error' : 'type'}>{event.type}</span>
            <span className="event-source">{event.source}</span>
          </>
        }
      >
        {event.session && (
          <Link className="button" href={stepPath(event.session.id, event.id)}>
            Show in its session
          </Link>
        )}
      </PageHead>
      <div className="columns session-columns">
        <div className="stack">
          {event.message && (
            <Card title="Message">
              <p className="card-text event-message">{event.message}</p>
            </Card>
          )}
          <Card title="Data">
            <div className="card-text">
              <EventData data={event.data} />
            </div>
          </Card>
        </div>
        <aside className="stack">
          <Card title="User">
            <p className="card-text">
              <UserLines user={event.user} />
            </p>
          </Card>
          <Card title="Context">
            <dl className="facts">
              <div>
                <dt>Happened</dt>
                <dd>{formatExact(new Date(event.occurredAt))}</dd>
              </div>
              <div>
                <dt>Session</dt>
                <dd>
                  {event.session ? (
                    <Link href={stepPath(event.session.id, event.id)}>
                      <Moment at={event.session.startedAt} />
                    </Link>
                  ) : (
                    'No session'
                  )}
                </dd>
              </div>
            </dl>
            <EventFacts event={event} />
          </Card>
        </aside>
      </div>
    </>
  );
}
