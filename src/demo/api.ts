import type { SentEvent } from './visits.js';

/** The call of the public API that the demo needs. An application would make the same. */
export interface Api {
  send(events: readonly SentEvent[]): Promise<void>;
}

interface Answer {
  readonly errors?: readonly { readonly message: string }[];
}

/** Makes an Api for the server at `url`, with `key`. A GraphQL error is thrown as an Error. */
export function createApi(url: string, key: string): Api {
  return {
    async send(events) {
      const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ query, variables: { events } }),
      });
      const { errors } = (await response.json()) as Answer;
      if (errors?.[0]) throw new Error(errors[0].message);
    },
  };
}
