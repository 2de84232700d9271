import { asFootstepsError, errorOf, FootstepsError } from './errors.js';

/** Where the server is, and what opens it. */
export interface Access {
  /** The address of the server, e.g. https://footsteps.example.com. */
  url: string;
  /** An API key. In a page use one with the scope INGEST alone, or a token. */
  key?: string;
  /** An access token, or a function that asks your server for one. It is called again when a token has run out. */
  token?: string | (() => string | Promise<string>);
}

/** How long a request may take, in milliseconds. A dead network would hold it for minutes. */
const PATIENCE = 30_000;

export interface Door {
  /** The address of GraphQL. */
  readonly url: string;
  /** The credential that is known at this moment. Undefined: it must be asked for. */
  readonly known: () => string | undefined;
  /** The credential; with `renew` a new one, where a function makes them. Rejects with TOKEN. */
  readonly credential: (renew?: boolean) => Promise<string | undefined>;
  /** Whether `credential` can make a new one. */
  readonly renews: boolean;
  /** Posts a body. Resolves with the data of the answer. Rejects with a FootstepsError. */
  readonly post: <Data>(body: string, signal?: AbortSignal) => Promise<Data>;
}

/** The headers of a request with this credential. */
export const headersOf = (credential: string | undefined): Record<string, string> => ({
  'Content-Type': 'application/json',
  Authorization: `Bearer ${credential}`,
});

export function createDoor({ url, key, token }: Access): Door {
  const renews = typeof token === 'function';
  const address = `${url.replace(/\/+$/, '')}/graphql`;
  let known = key ?? (renews ? undefined : token);
  let asked: Promise<string> | undefined;

  async function ask(): Promise<string> {
    try {
      return (known = await (token as () => string | Promise<string>)());
    } catch (error) {
      throw asFootstepsError(error, 'TOKEN');
    } finally {
      asked = undefined;
    }
  }

  const credential = async (renew = false): Promise<string | undefined> =>
    renews && (renew || known === undefined) ? (asked ??= ask()) : known;

  async function once(body: string, renew: boolean, signal: AbortSignal): Promise<any> {
    const headers = headersOf(await credential(renew));
    let answer: { data?: unknown; errors?: any[] };
    let status = 0;
    let retryAfter = 0;
    try {
      const response = await fetch(address, { method: 'POST', headers, body, signal });
      status = response.status;
      retryAfter = Number(response.headers.get('Retry-After')) || 0;
      answer = (await response.json()) as typeof answer;
    } catch (error) {
      // A proxy's page of an error has a status and no JSON. Where it finds the body too large, less may pass.
      throw new FootstepsError('NETWORK', String(error), status < 500 && status !== 413 ? 0 : status, retryAfter);
    }
    if (answer.errors) throw errorOf(answer.errors, status, retryAfter);
    return answer.data;
  }

  return {
    url: address,
    known: () => known,
    credential,
    renews,
    async post(body, signal) {
      const limit = new AbortController();
      const stop = (): void => limit.abort();
      const timer = setTimeout(stop, PATIENCE);
      if (signal?.aborted) stop();
      signal?.addEventListener('abort', stop);
      try {
        return await once(body, false, limit.signal).catch((error: FootstepsError) => {
          if (signal?.aborted) throw new FootstepsError('ABORTED', 'It was broken off.');
          if (error.code !== 'UNAUTHENTICATED' || !renews) throw error;
          return once(body, true, limit.signal);
        });
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
      }
    },
  };
}
