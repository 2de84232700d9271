import { firstFrom } from '../../domain/in-order.js';
import { policyOf, type PlannedEvent } from '../../domain/planned-event.js';
import type { WorkingSession } from '../../domain/session.js';
import type { Queryable } from '../../store/database.js';
import {
  addDevices,
  addUsers,
  countNamesakes,
  lockDevices,
  lockNamedSessions,
  lockUsers,
  readDeviceOwners,
  readIdentitySessions,
  readSessionOwners,
  readSettings,
  readStoredParts,
  type DeviceMoment,
  type DeviceOwner,
  type MentionedUser,
  type Moment,
  type SessionCuts,
  type SessionKey,
} from '../../store/ingest/ingest-reads.js';
import { inOrderOfDevices, inOrderOfLocks, type DeviceKey } from '../../store/lock-order.js';
import { sendInOrder } from '../../store/send-in-order.js';
import { addTo } from '../add-to.js';
import { deviceSubject, keySubject, userKey, type BatchState } from './sessionize.js';

/**
 * Thrown in the transaction if the rows that were read are no longer those that were locked. The batch is then planned
 * again.
 */
export class PlanAnew extends Error {}

/** Each user once, with the first time at which one of the events names the user; in the order of their locks. */
function uniqueUsers(users: readonly MentionedUser[]): MentionedUser[] {
  const unique = new Map<string, MentionedUser>();
  for (const user of users) {
    const key = userKey(user.projectId, user.userId);
    const known = unique.get(key)?.firstAt ?? null;
    const isFirst = known === null || (user.firstAt !== null && user.firstAt < known);
    if (isFirst) unique.set(key, user);
  }
  return [...unique.values()].toSorted(inOrderOfLocks);
}

/** The devices of the events without a key, each once, in the order of their locks. */
function uniqueDevices(events: readonly PlannedEvent[]): DeviceKey[] {
  const unique = new Map<string, DeviceKey>();
  for (const { event } of events) {
    const { projectId, sessionKey, deviceId } = event;
    if (sessionKey === null && deviceId !== null)
      unique.set(deviceSubject(projectId, deviceId), { projectId, deviceId });
  }
  return [...unique.values()].toSorted(inOrderOfDevices);
}

/** The times of the events that name a device alone, each time once. */
function deviceMoments(events: readonly PlannedEvent[]): DeviceMoment[] {
  const moments = new Map<string, DeviceMoment>();
  for (const { event } of events) {
    const { projectId, sessionKey, deviceId, user, time: at } = event;
    if (sessionKey !== null || user || deviceId === null) continue;
    moments.set(`${deviceSubject(projectId, deviceId)} ${at}`, { projectId, deviceId, at });
  }
  return [...moments.values()];
}

/** The users whom an event of a device alone may concern, by the device and the time of the event. */
type OwnersAt = (moment: DeviceMoment) => readonly string[];

function ownersAt(owners: readonly DeviceOwner[]): OwnersAt {
  const at = new Map<string, string[]>();
  const key = ({ projectId, deviceId }: DeviceKey, when: number | 'latest'): string =>
    `${deviceSubject(projectId, deviceId)} ${when}`;
  for (const owner of owners) addTo(at, key(owner, owner.isLatest ? 'latest' : owner.at), owner.userId);
  return (moment) => at.get(key(moment, moment.at)) ?? at.get(key(moment, 'latest')) ?? [];
}

/** Whose sessions near which times the events without a key may change, each once. */
function momentsOf(events: readonly PlannedEvent[], owners: OwnersAt): Moment[] {
  const moments = new Map<string, Moment>();
  const add = (moment: Moment): void => {
    const { projectId, userId, deviceId, at } = moment;
    moments.set(`${projectId} ${userId ?? ''} ${deviceId ?? ''} ${at}`, moment);
  };
  for (const { event } of events) {
    const { projectId, sessionKey, deviceId, user, time: at } = event;
    if (sessionKey !== null) continue;
    if (user) add({ projectId, userId: user.id, deviceId, at });
    if (deviceId === null) continue;
    add({ projectId, userId: null, deviceId, at });
    if (!user) for (const userId of owners({ projectId, deviceId, at })) add({ projectId, userId, deviceId, at });
  }
  return [...moments.values()];
}

/** The sessions that the events name, in the order of their locks: sessions without a user first. */
function namedKeys(events: readonly PlannedEvent[]): SessionKey[] {
  const keys = new Map<string, SessionKey>();
  for (const { event } of events) {
    if (event.sessionKey === null) continue;
    const { projectId, sessionKey: key, allowedUsers } = event;
    // An event without a user may mean any user's session; if its token is narrowed, only a session of those users.
    for (const userId of event.user ? [event.user.id] : (allowedUsers ?? [null])) {
      keys.set(`${projectId} ${key} ${userId ?? ''}`, { projectId, key, userId });
    }
  }
  return [...keys].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, key]) => key);
}

/** Rule 12: the most stored events that are divided for the late starts of a batch; smaller sessions come first. */
const MOST_SPLIT = 100_000;

/**
 * Finds the sessions that late starts may split (rule 12), and reads their stored events in parts into `sessions`. Mostly
 * there is no such start, and nothing is read.
 */
async function readSplitSessions(
  tx: Queryable,
  events: readonly PlannedEvent[],
  settings: BatchState['settings'],
  sessions: readonly WorkingSession[],
): Promise<void> {
  const starts = new Map<string, number[]>();
  for (const { event } of events) {
    const { projectId, deviceId, user } = event;
    if (event.type !== 'session' || event.sessionKey !== null || (deviceId === null && !user)) continue;
    if (policyOf(event, settings.get(projectId)!) !== 'RESTART') continue;
    addTo(starts, deviceId === null ? userKey(projectId, user!.id) : deviceSubject(projectId, deviceId), event.time);
  }
  if (starts.size === 0) return;
  for (const times of starts.values()) times.sort((a, b) => a - b);
  const cuts: SessionCuts[] = [];
  let read = 0;
  for (const session of sessions.toSorted((a, b) => a.eventCount - b.eventCount)) {
    const { projectId, key, userId, deviceId, startedAt, lastActivityAt, endReason } = session;
    // A session that a client or a start has ended is not split, unless it may still go on.
    const isOver = endReason === 'SUPERSEDED' || (endReason === 'CLIENT' && !session.closedByHeartbeat);
    if (key !== null || isOver) continue;
    const subject = deviceId === null ? userKey(projectId, userId!) : deviceSubject(projectId, deviceId);
    const times = starts.get(subject) ?? [];
    const within = times.slice(
      firstFrom(times, startedAt + 1, (time) => time),
      firstFrom(times, lastActivityAt + 1, (time) => time),
    );
    if (within.length === 0) continue;
    read += session.eventCount;
    if (read > MOST_SPLIT) session.isUnsplittable = true;
    else cuts.push({ session, times: within });
  }
  if (cuts.length === 0) return;
  const parts = await readStoredParts(tx, cuts);
  for (const { session } of cuts) session.stored = parts.get(session.id)!;
}

/**
 * Reads all that a batch must know before it plans: settings, users, devices, named sessions, and the identity sessions near
 * the events. It locks the users, then the devices, then the sessions. `more` is read under these locks. Statements that do
 * not need an earlier answer are sent at once. Mostly these are all statements; events that name their session, events of a
 * device alone, and late starts need answers first.
 */
export async function readState(
  tx: Queryable,
  events: readonly PlannedEvent[],
  now: Date,
  more: (on: Queryable) => Promise<void>,
): Promise<BatchState> {
  const projectIds = [...new Set(events.map(({ event }) => event.projectId))];
  const settingsNow = (on: Queryable) => readSettings(on, projectIds, now);
  const keys = namedKeys(events);
  const alone = deviceMoments(events);
  const first =
    keys.length + alone.length > 0
      ? await sendInOrder(tx, [
          settingsNow,
          keys.length > 0 ? (on) => readSessionOwners(on, keys) : null,
          alone.length > 0 ? (on) => readDeviceOwners(on, alone) : null,
        ])
      : null;
  const mentioned = events.flatMap(({ event }) =>
    event.user
      ? [
          {
            projectId: event.projectId,
            userId: event.user.id,
            identity: event.user.identity,
            firstAt: event.time,
          },
        ]
      : [],
  );
  const known = [...(first?.[1] ?? []), ...(first?.[2] ?? [])].map((owner) => ({ ...owner, firstAt: null }));
  const wanted = uniqueUsers([...known, ...mentioned]);
  const devices = uniqueDevices(events);
  const owners = ownersAt(first?.[2] ?? []);
  const near = momentsOf(events, owners);
  const [own, , locked, , onDevices, ownersNow, counted, named, identified] = await sendInOrder(tx, [
    first ? null : settingsNow,
    wanted.length > 0 ? (on) => addUsers(on, wanted) : null,
    wanted.length > 0 ? (on) => lockUsers(on, wanted) : null,
    devices.length > 0 ? (on) => addDevices(on, devices) : null,
    devices.length > 0 ? (on) => lockDevices(on, devices) : null,
    alone.length > 0 ? (on) => readDeviceOwners(on, alone) : null,
    // The count comes before the sessions. If it is too low by then, the unique key refuses the new session.
    keys.length > 0 ? (on) => countNamesakes(on, keys) : null,
    keys.length > 0 ? (on) => lockNamedSessions(on, keys) : null,
    near.length > 0 ? (on) => readIdentitySessions(on, near) : null,
    more,
  ]);
  const settings = first?.[0] ?? own!;
  const users = new Map(locked?.map((user) => [userKey(user.projectId, user.userId), user]));
  // A user was erased between the two statements, or a device of which nothing is left was deleted.
  if (users.size < wanted.length) throw new PlanAnew('a user is gone');
  if ((onDevices?.length ?? 0) < devices.length) throw new PlanAnew('a device is gone');
  for (const { projectId, userId } of named ?? []) {
    if (userId && !users.has(userKey(projectId, userId))) throw new PlanAnew('a named session has found its user');
  }
  const nowAt = ownersAt(ownersNow ?? []);
  for (const moment of alone) {
    const before = owners(moment);
    if (!nowAt(moment).every((userId) => before.includes(userId))) throw new PlanAnew('a device has found its user');
  }
  if (identified) await readSplitSessions(tx, events, settings, identified);
  const namesakes = new Map(counted?.map((row) => [keySubject(row.projectId, row.key), row.namesakes]));
  const ends = new Map(onDevices?.map((device) => [deviceSubject(device.projectId, device.deviceId), device.ends]));
  return { settings, users, devices: ends, sessions: [...(named ?? []), ...(identified ?? [])], namesakes };
}
