// What the loads send: page views and the like of a site's users, the same for every comparator.

const PAGES = Array.from({ length: 50 }, (_, at) => `/products/${at}`);
const TYPES = ['page view', 'page view', 'page view', 'usage', 'log', 'error'];

/** The at-th event: its user is one of `users`, its time is the server's. */
export function eventAt(at, users) {
  // A multiplicative step visits the users in no order, each as often.
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

/** Request bodies of `size` events each, together touching every user about once. */
export function ingestBodies({ requests, size, users }) {
  return Array.from({ length: requests }, (_, request) =>
    JSON.stringify({
      query: INGEST,
      variables: { events: Array.from({ length: size }, (_, at) => eventAt(request * size + at, users)) },
    }),
  );
}
