import type { CheckedEvent } from '../domain/check-event.js';
import { uuidAt } from '../domain/event-id.js';
import { planIdentity, type IdentityState } from '../domain/identity-sessions.js';
import { planNamed, type NamedState } from '../domain/named-session.js';
import { accepted, discarded, type PlanContext, type PlannedEvent } from '../domain/planned-event.js';
import type { SettingsNow } from '../domain/online.js';
import type { WorkingSession } from '../domain/session.js';
import type { LockedUser } from '../store/ingest-reads.js';

/** Everything the plan knows of the database, read under the locks that keep it true. */
export interface BatchState {
  readonly settings: ReadonlyMap<string, SettingsNow>;
  readonly users: ReadonlyMap<string, LockedUser>;
  /** Identity sessions near the batch's events, and the named ones. */
  readonly sessions: readonly WorkingSession[];
}

export interface BatchPlan {
  /** Every session that was read or made. */
  readonly sessions: WorkingSession[];
  /** By userKey: when the user last sent a `sessionend` event, where this batch moved it. */
  readonly ends: Map<string, number>;
}

export const userKey = (projectId: string, userId: string): string => `${projectId} ${userId}`;

/** Who or what an event's session is found by: its key (rule 1), else its user (rule 2), else nothing (rule 3). */
export function subjectOf(event: CheckedEvent): string | null {
  if (event.sessionKey !== null) return `${event.projectId} key ${event.sessionKey}`;
  return event.user && userKey(event.projectId, event.user.id);
}

/** One subject's events, by request, in the order the requests came. */
function byRequest(events: readonly PlannedEvent[]): PlannedEvent[][] {
  const requests: PlannedEvent[][] = [];
  let current = -1;
  for (const planned of events) {
    if (planned.request !== current) requests.push([]);
    current = planned.request;
    requests.at(-1)!.push(planned);
  }
  return requests;
}

const later = (a: number | null | undefined, b: number): number => Math.max(a ?? b, b);

/**
 * Plans a batch: finds or opens every event's session and decides what becomes of the event. Sets the
 * verdict of each; `events` are those not answered already (no repeats), in order of arrival.
 */
export function sessionize(events: readonly PlannedEvent[], state: BatchState): BatchPlan {
  const subjects = new Map<string, PlannedEvent[]>();
  for (const planned of events) {
    const subject = subjectOf(planned.event);
    if (subject === null) {
      // Rule 3, and rule 18: a heartbeat is never stored.
      planned.verdict = planned.event.type === 'heartbeat' ? discarded('NO_SESSION', null) : accepted(null);
      continue;
    }
    const group = subjects.get(subject);
    if (group) group.push(planned);
    else subjects.set(subject, [planned]);
  }

  const named = new Map<string, WorkingSession>();
  const owned = new Map<string, WorkingSession[]>();
  for (const session of state.sessions) {
    if (session.key !== null) {
      named.set(`${session.projectId} key ${session.key}`, session);
      continue;
    }
    const key = userKey(session.projectId, session.userId!);
    const sessions = owned.get(key);
    if (sessions) sessions.push(session);
    else owned.set(key, [session]);
  }

  const plan: BatchPlan = { sessions: [], ends: new Map() };
  for (const [subject, group] of subjects) {
    const { event } = group[0]!;
    const context: PlanContext = {
      settings: state.settings.get(event.projectId)!,
      newSessionId: (startedAt) => uuidAt(startedAt),
    };
    if (event.sessionKey !== null) {
      const namedState: NamedState = { session: named.get(subject) ?? null };
      const endAt = planNamed(namedState, byRequest(group), context);
      if (namedState.session) plan.sessions.push(namedState.session);
      const userId = namedState.session?.userId ?? event.user?.id;
      if (endAt === null || !userId) continue;
      const key = userKey(event.projectId, userId);
      const before = plan.ends.get(key) ?? state.users.get(key)?.lastEndAt?.getTime();
      plan.ends.set(key, later(before, endAt));
      continue;
    }
    const before = plan.ends.get(subject) ?? state.users.get(subject)?.lastEndAt?.getTime() ?? null;
    const identityState: IdentityState = { sessions: owned.get(subject) ?? [], lastEndAt: before };
    planIdentity(identityState, byRequest(group), context);
    plan.sessions.push(...identityState.sessions);
    if (identityState.lastEndAt !== null && identityState.lastEndAt !== before)
      plan.ends.set(subject, identityState.lastEndAt);
  }
  return plan;
}
