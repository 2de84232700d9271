import type { CheckedEvent } from '../../domain/check-event.js';
import { uuidAt } from '../../domain/event-id.js';
import { planIdentity, type IdentityState } from '../../domain/identity-sessions.js';
import { planNamed } from '../../domain/named-session.js';
import { accepted, discarded, type PlanContext, type PlannedEvent } from '../../domain/planned-event.js';
import type { SettingsNow } from '../../domain/online.js';
import type { WorkingSession } from '../../domain/session.js';
import type { LockedUser } from '../../store/ingest/ingest-reads.js';
import { addTo } from '../add-to.js';

/** What the plan knows of the database, read under locks that keep it true. */
export interface BatchState {
  readonly settings: ReadonlyMap<string, SettingsNow>;
  readonly users: ReadonlyMap<string, LockedUser>;
  /** By deviceSubject: the times of the `sessionend` events of each device alone (rule 18), in order; milliseconds. */
  readonly devices: ReadonlyMap<string, readonly number[]>;
  /** Identity sessions near the batch's events, and the named ones. */
  readonly sessions: readonly WorkingSession[];
  /** By keySubject: how many sessions the key has named so far. */
  readonly namesakes: ReadonlyMap<string, number>;
}

export interface BatchPlan {
  /** Every session that was read or made. */
  readonly sessions: WorkingSession[];
  /** The ends that this batch has added to (rule 18). */
  readonly ends: SubjectEnds[];
}

/** The times of the `sessionend` events of a user on a device, in order; milliseconds. */
interface SubjectEnds {
  readonly projectId: string;
  /** Null: the device alone. */
  readonly userId: string | null;
  /** Null: the user without a device. */
  readonly deviceId: string | null;
  readonly ends: readonly number[];
}

export const userKey = (projectId: string, userId: string): string => `${projectId} ${userId}`;
export const keySubject = (projectId: string, key: string): string => `${projectId} key ${key}`;

export const deviceSubject = (projectId: string, deviceId: string): string => `${projectId} device ${deviceId}`;

/**
 * What an event's session is found by: its key (rule 1), else its device, else its user (rule 2); null: nothing (rule 3).
 * The users of a device are planned together, because the device's sessions of nobody may become the session of any.
 */
function subjectOf({ projectId, sessionKey, deviceId, user }: CheckedEvent): string | null {
  if (sessionKey !== null) return keySubject(projectId, sessionKey);
  if (deviceId !== null) return deviceSubject(projectId, deviceId);
  return user && userKey(projectId, user.id);
}

/** The remembered ends of the users of these events on their device, and of the device alone, by user. */
function endsOf(events: readonly PlannedEvent[], sessions: readonly WorkingSession[], state: BatchState) {
  const { projectId, deviceId } = events[0]!.event;
  const ends = new Map<string | null, readonly number[]>();
  if (deviceId !== null) ends.set(null, state.devices.get(deviceSubject(projectId, deviceId)) ?? []);
  const users = new Set([...events.map(({ event }) => event.user?.id), ...sessions.map(({ userId }) => userId)]);
  for (const userId of users) {
    if (userId) ends.set(userId, state.users.get(userKey(projectId, userId))?.ends.get(deviceId ?? '') ?? []);
  }
  return ends;
}

/** The events of one subject, by request, in the order in which the requests came. */
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

/**
 * Plans a batch: finds or opens the session of each event, and decides the event's outcome. Sets the verdict of each event.
 * `events` are those that are not answered already (no repeats), in the order of arrival.
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
    const { projectId, key, deviceId, userId } = session;
    if (key !== null) addTo(known, keySubject(projectId, key), session);
    else addTo(known, deviceId === null ? userKey(projectId, userId!) : deviceSubject(projectId, deviceId), session);
  }

  const plan: BatchPlan = { sessions: [], ends: [] };
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
      const { projectId, deviceId } = event;
      const before = endsOf(group, sessions, state);
      const identityState: IdentityState = { sessions, ends: new Map(before) };
      planIdentity(identityState, byRequest(group), context);
      for (const [userId, ends] of identityState.ends)
        if (ends !== before.get(userId)) plan.ends.push({ projectId, userId, deviceId, ends });
    }
    plan.sessions.push(...sessions);
  }
  return plan;
}
