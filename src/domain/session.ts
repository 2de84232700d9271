export type SessionEndReason = 'CLIENT' | 'INACTIVITY' | 'SUPERSEDED';

/** Rule 1 and the contract: what a client may name a session. */
export const SESSION_KEY = /^[A-Za-z0-9-]{8,100}$/;

/** Rule 21: a session ended by a closing heartbeat counts as online for this long, so that a page load is no departure. */
export const CLOSING_GRACE = 5_000;

/** Rule 10: milliseconds in the past at arrival, beyond which an event is TOO_OLD. */
export const OLDEST_EVENT = 3 * 86_400_000;
