// The events that the loads send: page views and similar events of a site's users, the same for every comparator.

const PAGES = Array.from({ length: 50 }, (_, at) => `/products/${at}`);
const TYPES = ['page view', 'page view', 'page view', 'usage', 'log', 'error'];

/** The event number `at`: its user is one of `users`, and the server sets its time. */
export function eventAt(at, users) {
  // A multiplicative step visits the users in mixed order, each equally often.
  const user = (at * 7919) % users;
  return {
    type: TYPES[user % TYPES.length],
    source: PAGES[at % PAGES.length],
    message: `Step ${at % 100}`,
    user: { identity: `user-${user}@example.com` },
    data: { plan: 'pro', position: at % 20 },
  };
}

const INGEST = 'mutation Ingest($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';

/** Request bodies of `size` events each. Together they have about one event of each user. */
export function ingestBodies({ requests, size, users }) {
  return Array.from({ length: requests }, (_, request) =>
    JSON.stringify({
      query: INGEST,
      variables: { events: Array.from({ length: size }, (_, at) => eventAt(request * size + at, users)) },
    }),
  );
}
