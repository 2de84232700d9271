import type { CheckedEvent } from '../domain/check-event.js';
import { uuidAt } from '../domain/event-id.js';
import { planIdentity, type EventSplit, type IdentityState } from '../domain/identity-sessions.js';
import { planNamed } from '../domain/named-session.js';
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
  /** By subject, for keys: how many sessions the key has named so far. */
  readonly namesakes: ReadonlyMap<string, number>;
}

export interface BatchPlan {
  /** Every session that was read or made. */
  readonly sessions: WorkingSession[];
  /** By userKey: when the user sent `sessionend` events, where this batch holds more of them. */
  readonly ends: Map<string, readonly number[]>;
  /** Stored events that change their session, by late starts. */
  readonly splits: EventSplit[];
}

export const userKey = (projectId: string, userId: string): string => `${projectId} ${userId}`;
export const keySubject = (projectId: string, key: string): string => `${projectId} key ${key}`;

/** Who or what an event's session is found by: its key (rule 1), else its user (rule 2), else nothing (rule 3). */
function subjectOf(event: CheckedEvent): string | null {
  if (event.sessionKey !== null) return keySubject(event.projectId, event.sessionKey);
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

function addTo<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

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
    addTo(subjects, subject, planned);
  }

  const known = new Map<string, WorkingSession[]>();
  for (const session of state.sessions) {
    const { projectId, key, userId } = session;
    addTo(known, key === null ? userKey(projectId, userId!) : keySubject(projectId, key), session);
  }

  const plan: BatchPlan = { sessions: [], ends: new Map(), splits: [] };
  for (const [subject, group] of subjects) {
    const { event } = group[0]!;
    const context: PlanContext = {
      settings: state.settings.get(event.projectId)!,
      newSessionId: uuidAt,
    };
    const sessions = known.get(subject) ?? [];
    if (event.sessionKey !== null) {
      planNamed({ sessions, namesakes: state.namesakes.get(subject) ?? 0 }, byRequest(group), context);
    } else {
      const ends = state.users.get(subject)?.ends ?? [];
      const identityState: IdentityState = { sessions, ends, splits: plan.splits };
      planIdentity(identityState, byRequest(group), context);
      if (identityState.ends !== ends) plan.ends.set(subject, identityState.ends);
    }
    plan.sessions.push(...sessions);
  }
  return plan;
}
