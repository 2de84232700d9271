import type { Observer } from '../observation.js';
import type { FlippedEdge } from '../store/presence/flip-presence.js';
import { addTo } from './add-to.js';
import type { Bus } from './bus.js';
import {
  changesChannel,
  encodeEdges,
  eventsChannel,
  presenceChannel,
  type EventsMessage,
  type SessionChanged,
} from './messages.js';

/** What one transaction has changed. It is published after the commit. */
export interface Changes {
  readonly edges: readonly FlippedEdge[];
  readonly sessions: readonly (SessionChanged & { projectId: string })[];
  readonly events: readonly { projectId: string; id: string }[];
  /** The latest edges of users whose devices have changed without an edge (`PresenceEdge.devicesTransaction`). */
  readonly devices?: readonly FlippedEdge[];
  /** Projects whose feed has something else. */
  readonly changed?: readonly string[];
}

function byProject<Item extends { projectId: string }>(items: readonly Item[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) addTo(groups, item.projectId, item);
  return groups;
}

/** Publishes a message on the bus. A failure is observed. Never rejects. */
export const publish = (bus: Bus, observe: Observer, channel: string, message: string): Promise<void> =>
  bus.publish(channel, message).catch((error: unknown) => observe({ kind: 'bus.publishFailed', channel, error }));

/**
 * Publishes to every server what a transaction has committed (rule 29). Call it after the commit, without waiting. If the
 * bus loses presence edges, the watchers' repair finds them again; if it loses the word that the feed has something new, the next
 * look finds it; if it loses events, their watchers learn that messages were lost. The messages of one call keep the order of the commit.
 */
export function publishChanges(bus: Bus, observe: Observer, changes: Changes): void {
  const say = (channel: string, message: string): void => void publish(bus, observe, channel, message);
  for (const [projectId, edges] of byProject(changes.edges)) {
    say(presenceChannel(projectId), encodeEdges(edges.map(({ edge }) => edge)));
    observe({ kind: 'edges.published', count: edges.length });
  }
  for (const [projectId, edges] of byProject(changes.devices ?? []))
    say(presenceChannel(projectId), encodeEdges(edges.map(({ edge }) => edge)));
  const events = byProject(changes.events);
  const merges = byProject(changes.sessions.filter(({ took }) => took));
  for (const projectId of new Set([...events.keys(), ...merges.keys()])) {
    const merged = merges.get(projectId);
    const message: EventsMessage = {
      ids: (events.get(projectId) ?? []).map(({ id }) => id),
      ...(merged && { merges: merged.map(({ id, took }) => ({ id, took: took! })) }),
    };
    say(eventsChannel(projectId), JSON.stringify(message));
  }
  const told = [...changes.edges, ...changes.sessions, ...changes.events].map(({ projectId }) => projectId);
  for (const projectId of new Set([...told, ...(changes.changed ?? [])])) say(changesChannel(projectId), '');
}
