import type { PresenceChangeRow } from '../store/presence/presence-history.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import type { UserRow } from '../store/sessions/users.js';
import { builder } from './builder.js';

/** The types that refer to each other. They are declared here, and each is implemented in its own file. */
export const User = builder.objectRef<UserRow>('User');
export const Session = builder.objectRef<SessionRow>('Session');
export const Event = builder.objectRef<EventRow>('Event');
export const PresenceChange = builder.objectRef<PresenceChangeRow>('PresenceChange');
/** What stands in the feed of changes (change.ts), and its like from elsewhere: then it has no cursor of its own. */
export const Change = builder.interfaceRef<{ readonly at: Date; readonly cursor?: string }>('Change');
