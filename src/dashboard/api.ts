import { createContext, useContext } from 'react';
import { createClient as createStreams, type Client as Streams } from 'graphql-sse';
import { cacheExchange, Client, fetchExchange, mapExchange, type CombinedError } from 'urql';
import { isCurrent, signOut } from './credential';

const URL = '/graphql';

/** The two clients of a page: `client` sends queries and mutations, `streams` sends subscriptions. */
export interface Api {
  readonly client: Client;
  readonly streams: Streams;
}

/** The HTTP status of the server's answer; null if there was no answer. */
const statusOf = (error: CombinedError): number | null =>
  (error.response as { status?: number } | undefined)?.status ?? null;

const REFUSED = 'This key or token is no longer valid. It may have been revoked, or it may have expired.';

/** Makes the clients that send `secret`, a key or token, with each request. An answer of 401 signs the user out. */
export function createApi(secret: string): Api {
  const headers = { Authorization: `Bearer ${secret}` };
  const client = new Client({
    url: URL,
    exchanges: [
      mapExchange({
        onError(error) {
          if (statusOf(error) === 401 && isCurrent(secret)) signOut(REFUSED);
        },
      }),
      cacheExchange,
      fetchExchange,
    ],
    fetchOptions: { headers },
    preferGetMethod: false,
    requestPolicy: 'cache-and-network',
  });
  // live.ts opens lost streams again, because the page must then also read what it missed.
  const streams = createStreams({ url: URL, headers, retryAttempts: 0 });
  return { client, streams };
}

/** Signs the user out after the server has refused a stream with 401. */
export const refuse = (): void => signOut(REFUSED);

/** Whether there was no answer of the server. Trying again may help. */
export const isUnreachable = (error: CombinedError): boolean =>
  error.graphQLErrors.length === 0 && statusOf(error) !== 401;

/** Whether the server could not do it now: what is asked takes too long, or the server has too much to do. */
export const isTooMuch = (error: CombinedError): boolean =>
  error.graphQLErrors.some(({ extensions }) => extensions['code'] === 'UNAVAILABLE');

/** The error message that the page shows. */
export function explain(error: CombinedError): string {
  const [first] = error.graphQLErrors;
  if (first?.extensions['code'] === 'FORBIDDEN') return `This key does not have access to this data. ${first.message}`;
  if (first) return first.message;
  return 'The server cannot be reached. Is it running?';
}

const ApiContext = createContext<Api | null>(null);

/** Gives the clients of the signed-in user to the pages. */
export const ApiProvider = ApiContext.Provider;

/** The clients of the signed-in user. Throws if no user is signed in. */
export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error('useApi needs a signed-in user.');
  return api;
}
