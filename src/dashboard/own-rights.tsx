import type { ReactNode } from 'react';
import { useCredential, useRights } from './credential';
import { formatExact } from './format';
import { Icon } from './icons';
import { Card } from './parts';
import { readToken } from './token';
import { usersOf } from './visit-note';

const MAY: readonly { right: 'read' | 'presence' | 'manage'; what: string; scope: string }[] = [
  { right: 'read', what: 'See sessions, events, users and statistics', scope: 'READ' },
  { right: 'presence', what: 'See who is online', scope: 'READ or PRESENCE' },
  { right: 'manage', what: 'Change the project: settings, keys, tokens and webhooks', scope: 'MANAGE' },
];

/** What the key or token of this user may do on the pages, and until when. */
export function OwnRights(): ReactNode {
  const rights = useRights();
  const { secret } = useCredential();
  const token = readToken(secret ?? '');
  return (
    <Card title={token ? 'Your access token' : 'Your key'}>
      <ul className="rights">
        {MAY.map(({ right, what, scope }) => (
          <li key={right} className={rights[right] ? '' : 'muted'}>
            <Icon name={rights[right] ? 'check' : 'close'} size={16} />
            <span>
              {what}
              {!rights[right] && (
                <>
                  : not with this {token ? 'token' : 'key'}. It needs the scope {scope}.
                </>
              )}
            </span>
          </li>
        ))}
      </ul>
      {token && (
        <p className="card-text muted">
          You see {usersOf(token.identities)}. The token ends on {formatExact(token.expiresAt)}.
        </p>
      )}
    </Card>
  );
}
