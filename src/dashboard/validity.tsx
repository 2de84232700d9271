import { useEffect, type ReactNode } from 'react';
import { useApi } from './api';
import { useCredential } from './credential';
import { StillValidDocument } from './generated/graphql';
import { readToken } from './token';

/** The server is asked once in this time whether it still takes the key. Milliseconds. */
const LOOK = 60_000;

/**
 * Notices that the key was revoked, or that the token has expired, on a page that asks the server nothing by itself: an answer
 * of 401 signs the user out. The server decides, because this computer's clock may be wrong.
 */
export function Validity(): ReactNode {
  const { client } = useApi();
  const { secret } = useCredential();
  useEffect(() => {
    const look = (): void => {
      if (document.hidden) return;
      void client.query(StillValidDocument, {}, { requestPolicy: 'network-only' }).toPromise();
    };
    const left = (readToken(secret ?? '')?.expiresAt.getTime() ?? 0) - Date.now();
    const end = left > 0 ? window.setTimeout(look, left + 1_000) : undefined;
    const timer = window.setInterval(look, LOOK);
    document.addEventListener('visibilitychange', look);
    return () => {
      window.clearTimeout(end);
      window.clearInterval(timer);
      document.removeEventListener('visibilitychange', look);
    };
  }, [client, secret]);
  return null;
}
