import type { Reach } from '../domain/access.js';

/** Deletes every session and event of a user, and the user from what subscribers see. */
export type EraseUser = (reach: Reach, identity: string) => Promise<{ sessions: number; events: number }>;
