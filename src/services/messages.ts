import type { PresenceEdge } from '../domain/presence.js';

/**
 * What is said on the bus, one channel a project and subject. Presence edges travel whole; of sessions and
 * events only the ids travel, and each server reads the rows once for all of its watchers.
 */
export type SessionChangeKind = 'STARTED' | 'UPDATED' | 'ENDED';

/** A change of a session, and the sessions that became part of it by that (rule 27). */
export interface SessionChanged {
  readonly id: string;
  readonly kind: SessionChangeKind;
  readonly took?: readonly string[];
}

export interface SessionsMessage {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly changes: readonly SessionChanged[];
}

export interface EventsMessage {
  readonly ids: readonly string[];
}

export const presenceChannel = (projectId: string): string => `footsteps:presence:{${projectId}}`;
export const sessionsChannel = (projectId: string): string => `footsteps:sessions:{${projectId}}`;
export const eventsChannel = (projectId: string): string => `footsteps:events:{${projectId}}`;
/** Says which API keys have been revoked, on every server at once. */
export const keysChannel = 'footsteps:keys';

/** Dates travel as ISO text. */
export function encodeEdges(edges: readonly PresenceEdge[]): string {
  return JSON.stringify(edges);
}

export function decodeEdges(message: string): PresenceEdge[] {
  const edges = JSON.parse(message) as PresenceEdge[];
  return edges.map((edge) => ({
    ...edge,
    presence: {
      ...edge.presence,
      since: edge.presence.since && new Date(edge.presence.since),
      lastSeenAt: edge.presence.lastSeenAt && new Date(edge.presence.lastSeenAt),
    },
  }));
}
