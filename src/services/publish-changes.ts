import type { PresenceEdge } from '../domain/presence.js';
import type { Observer } from '../observation.js';
import type { Bus } from './bus.js';
import {
  encodeEdges,
  eventsChannel,
  presenceChannel,
  sessionsChannel,
  type EventsMessage,
  type SessionChanged,
  type SessionsMessage,
} from './messages.js';

/** What one transaction has changed, to be told after its commit. */
export interface Changes {
  readonly edges: readonly { projectId: string; edge: PresenceEdge }[];
  readonly sessions: readonly (SessionChanged & { projectId: string })[];
  readonly events: readonly { projectId: string; id: string }[];
}

function byProject<Item extends { projectId: string }>(items: readonly Item[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const group = groups.get(item.projectId);
    if (group) group.push(item);
    else groups.set(item.projectId, [item]);
  }
  return groups;
}

/**
 * Tells every server what has been committed (rule 29). Call it after the commit, without waiting: what
 * the bus loses of presence is found again by the watchers' repair, and of the rest the watchers are told that it is lost. Messages of one call keep the order of the commit.
 */
export function publishChanges(bus: Bus, observe: Observer, changes: Changes, now: Date): void {
  function publish(channel: string, message: string): void {
    bus.publish(channel, message).catch((error: unknown) => observe({ kind: 'bus.publishFailed', channel, error }));
  }
  for (const [projectId, edges] of byProject(changes.edges)) {
    publish(presenceChannel(projectId), encodeEdges(edges.map(({ edge }) => edge)));
    observe({ kind: 'edges.published', count: edges.length });
  }
  for (const [projectId, sessions] of byProject(changes.sessions)) {
    const message: SessionsMessage = {
      at: now.getTime(),
      changes: sessions.map(({ id, kind, took }) => ({ id, kind, ...(took && { took }) })),
    };
    publish(sessionsChannel(projectId), JSON.stringify(message));
  }
  for (const [projectId, events] of byProject(changes.events)) {
    const message: EventsMessage = { ids: events.map(({ id }) => id) };
    publish(eventsChannel(projectId), JSON.stringify(message));
  }
}
