import { createContext, useContext } from 'react';
import { createClient as createStreams, type Client as Streams } from 'graphql-sse';
import { cacheExchange, Client, fetchExchange, mapExchange, type CombinedError } from 'urql';
import { signOut } from './credential';

const URL = '/graphql';

/** What a page asks: queries and mutations through one client, subscriptions through the other. */
export interface Api {
  readonly client: Client;
  readonly streams: Streams;
}

/** The status with which the server turned the request away; null where it never answered. */
const statusOf = (error: CombinedError): number | null =>
  (error.response as { status?: number } | undefined)?.status ?? null;

const REFUSED = 'The key or token is not valid any more. It may have been revoked, or have run out.';

/** Speaks to the server as whoever holds `secret`. A credential that stops being good ends the visit. */
export function createApi(secret: string): Api {
  const headers = { Authorization: `Bearer ${secret}` };
  const client = new Client({
    url: URL,
    exchanges: [
      mapExchange({
        onError(error) {
          if (statusOf(error) === 401) signOut(REFUSED);
        },
      }),
      cacheExchange,
      fetchExchange,
    ],
    fetchOptions: { headers },
    preferGetMethod: false,
    requestPolicy: 'cache-and-network',
  });
  // Coming back after a loss is this page's own business: it must ask for what was missed.
  const streams = createStreams({ url: URL, headers, retryAttempts: 0 });
  return { client, streams };
}

/** Ends the visit, where a stream was refused. */
export const refuse = (): void => signOut(REFUSED);

/** What went wrong, in a sentence for the reader. */
export function explain(error: CombinedError): string {
  const [first] = error.graphQLErrors;
  if (first?.extensions['code'] === 'FORBIDDEN') return `This key may not see that. ${first.message}`;
  if (first) return first.message;
  return 'The server cannot be reached. Is it running?';
}

const ApiContext = createContext<Api | null>(null);

/** Hands the signed-in speaker down to the pages. */
export const ApiProvider = ApiContext.Provider;

/** The server, as the signed-in reader sees it. */
export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error('useApi needs somebody signed in.');
  return api;
}
