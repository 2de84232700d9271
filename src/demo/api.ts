import type { SentEvent } from './visits.js';

/** The public API, as far as the demo needs it: an application would speak to it in the same way. */
export interface Api {
  send(events: readonly SentEvent[]): Promise<void>;
  heartbeat(identity: string): Promise<void>;
}

interface Answer {
  readonly errors?: readonly { readonly message: string }[];
}

/** Speaks to the server at `url` with `key`. A refusal is an error. */
export function createApi(url: string, key: string): Api {
  async function ask(query: string, variables: Record<string, unknown>): Promise<void> {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const { errors } = (await response.json()) as Answer;
    if (errors?.[0]) throw new Error(errors[0].message);
  }
  return {
    send: (events) =>
      ask('mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', { events }),
    heartbeat: (identity) =>
      ask('mutation ($identity: String!) { recordHeartbeat(input: { identity: $identity }) { acknowledged } }', {
        identity,
      }),
  };
}
