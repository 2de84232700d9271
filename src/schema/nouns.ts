import type { EventRow, SessionRow } from '../store/rows.js';
import type { UserRow } from '../store/users.js';
import { builder } from './builder.js';

/** The nouns that speak of each other: named here, described each in its own file. */
export const User = builder.objectRef<UserRow>('User');
export const Session = builder.objectRef<SessionRow>('Session');
export const Event = builder.objectRef<EventRow>('Event');
