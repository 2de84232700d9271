import type { PresenceEdge } from '../../src/domain/presence.js';

/**
 * The number of online sessions of each user, as a subscriber shows it that has received all edges: each once, in order,
 * and each a change of that number or of the name (rules 29 and 30). Throws if an edge may not follow the edges before it.
 */
export function shownBy(edges: readonly PresenceEdge[]): Map<string, number> {
  const shown = new Map<string, PresenceEdge>();
  for (const edge of edges) {
    const { identity, name, status, onlineSessions, since } = edge.presence;
    const before = shown.get(identity);
    const was = before?.presence ?? { name: null, status: 'OFFLINE', onlineSessions: 0, since: null };
    const isKept = was.status !== status || was.since?.getTime() === since?.getTime();
    const isAgreed = (status === 'ONLINE') === onlineSessions > 0;
    const isNext = edge.previous === (before?.version ?? null) && edge.version > (before?.version ?? 0);
    const isChange = was.onlineSessions !== onlineSessions || was.name !== name;
    if (!isChange || !isKept || !isAgreed || !isNext)
      throw new Error(
        `${identity} ${status} ${onlineSessions} follows ${was.status} ${was.onlineSessions}: ${JSON.stringify(edge)}`,
      );
    shown.set(identity, edge);
  }
  return new Map([...shown].map(([identity, { presence }]) => [identity, presence.onlineSessions]));
}
