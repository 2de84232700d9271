import type { ReactNode } from 'react';
import { leaveProject, useCredential } from './credential';
import { formatExact } from './format';
import { readToken } from './token';

/** Most users of a token that are shown by name. */
const MOST_NAMES = 20;

/** The users that a token shows: "every user of the project", or their names. */
export function usersOf(identities: readonly string[] | null): string {
  if (!identities) return 'every user of the project';
  const more = identities.length - MOST_NAMES;
  return identities.slice(0, MOST_NAMES).join(', ') + (more > 0 ? `, and ${more} more` : '');
}

/** Above each page: how a visitor of a limited time came here, and until when. Nothing for somebody with a key. */
export function VisitNote(): ReactNode {
  const { secret, visit } = useCredential();
  if (visit) {
    return (
      <div className="visit-note" role="note" aria-label="Visit of the operator">
        <span>
          You are here as the operator, with a key that was made for this visit. It is revoked when you leave.
        </span>
        <button type="button" className="button small" onClick={leaveProject}>
          Leave project
        </button>
      </div>
    );
  }
  const token = readToken(secret ?? '');
  return (
    token && (
      <div className="visit-note" role="note" aria-label="Your access token">
        <span>
          You see {usersOf(token.identities)}, until {formatExact(token.expiresAt)}.
        </span>
      </div>
    )
  );
}
