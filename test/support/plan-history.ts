import { randomUUID } from 'node:crypto';
import type { PlannedEvent, ReadyEvent } from '../../src/domain/planned-event.js';
import { isOpen, survivor, type StoredPart, type WorkingSession } from '../../src/domain/session.js';
import { endSession } from '../../src/domain/working-session.js';
import { userIdOf } from '../../src/domain/identity.js';
import { deviceSubject, sessionize, userKey } from '../../src/services/ingest/sessionize.js';
import { eventText, stepText, type History } from './session-history.js';
import { SessionModel, type ModelEvent, type Verdict } from './session-model.js';

/** Plays histories of identity sessions with the plan alone, in memory: 1,000 times as fast as with a database. */

const PROJECT = '00000000-0000-7000-8000-000000000001';
const NOTHING = {
  version: null,
  browserName: null,
  browserVersion: null,
  osName: null,
  osVersion: null,
  device: null,
  ipAddress: null,
  isBot: false,
  country: null,
  region: null,
  city: null,
  data: {},
};

const line = (
  user: string | null,
  device: string | null,
  [start, last]: readonly [number, number],
  reason: string | null,
  events: number,
  errors: number,
): string =>
  `${user ?? 'nobody'} on ${device ?? 'nothing'}: ${start}..${last} ${reason ?? 'open'}, ${events} events, ${errors} errors`;

/** The ids of users, by identity. */
const ids = new Map<string, string>();

/** A session as the next batch reads it: with its stored events, of each instant apart. */
function readAgain(session: WorkingSession, stored: readonly StoredPart[]): WorkingSession {
  return {
    ...session,
    isNew: false,
    stored: stored.map((part) => ({ ...part, under: session.id })).toSorted((a, b) => a.at - b.at),
    moved: false,
    described: false,
    startedBy: null,
    endedBy: null,
  };
}

/**
 * Plays the history with the plan and with the model. Returns the first difference; null if there is none. The history has
 * no keys and no ids.
 */
export function planDifference(history: History): string | null {
  const rank = (user: string): string => ids.get(user) ?? (ids.set(user, userIdOf(PROJECT, user)), ids.get(user)!);
  const model = new SessionModel(history.settings, rank);
  let settings = { ...history.settings, retentionDays: 30, outage: null };
  let sessions: WorkingSession[] = [];
  const identities = new Map<string, string>();
  /** By user and device, and by device. */
  const ends = new Map<string, readonly number[]>();
  const devices = new Map<string, readonly number[]>();

  function closeAt(time: number): void {
    for (const session of sessions)
      if (isOpen(session) && session.lastActivityAt + settings.inactivityTimeout * 1_000 <= time * 1_000)
        endSession(session, session.lastActivityAt, 'INACTIVITY');
  }

  function ready(event: ModelEvent, now: number, call: ReadyEvent['call'] = null): ReadyEvent {
    const { type, t = now, user, deviceId = null, startPolicy = null } = event;
    if (user !== undefined) identities.set(rank(user), user);
    return {
      id: randomUUID(),
      projectId: PROJECT,
      type,
      time: Math.round(Math.min(t, now) * 1_000),
      receivedAt: now * 1_000,
      eventKey: null,
      sessionKey: null,
      deviceId,
      user: user === undefined ? null : { id: rank(user), identity: user, name: null, data: null },
      sender: { ipAddress: null, userAgent: null },
      allowedUsers: null,
      startPolicy,
      call,
      source: null,
      message: null,
      value: null,
      tags: [],
      referenceId: null,
      version: null,
      data: null,
      json: '{}',
      refusal: null,
      attributes: NOTHING,
    };
  }

  function send(events: readonly ReadyEvent[]): PlannedEvent[] {
    const planned = events.map((event): PlannedEvent => ({ event, request: 0, verdict: null }));
    const users = new Map(
      [...identities].map(([userId, identity]) => {
        const own = [...ends].flatMap(([name, times]): [string, readonly number[]][] =>
          name.startsWith(`${userId} `) ? [[name.slice(userId.length + 1), times]] : [],
        );
        const user = {
          projectId: PROJECT,
          userId,
          identity,
          name: null,
          nameAt: null,
          ends: new Map(own),
          online: false,
          firstSeenAt: null,
          lastSeenAt: null,
          isYoung: false,
        };
        return [userKey(PROJECT, userId), user];
      }),
    );
    const state = { settings: new Map([[PROJECT, settings]]), users, devices, sessions, namesakes: new Map() };
    const plan = sessionize(planned, state);
    for (const { userId, deviceId, ends: times } of plan.ends)
      if (userId === null) devices.set(deviceSubject(PROJECT, deviceId!), times);
      else ends.set(`${userId} ${deviceId ?? ''}`, times);
    const fresh = new Map<WorkingSession, StoredPart[]>();
    for (const { event, verdict } of planned) {
      if (verdict!.status !== 'ACCEPTED' || !verdict!.session) continue;
      const session = survivor(verdict!.session);
      const errors = event.type === 'error' ? 1 : 0;
      const part = {
        under: session.id,
        at: event.time,
        events: 1,
        errors,
        types: [event.type],
        entry: null,
        exit: null,
      };
      fresh.set(session, [...(fresh.get(session) ?? []), part]);
    }
    const touched = new Set(plan.sessions);
    sessions = [...sessions.filter((session) => !touched.has(session)), ...plan.sessions]
      .filter((session) => !session.mergedInto)
      .map((session) => readAgain(session, [...session.stored, ...(fresh.get(session) ?? [])]));
    return planned;
  }

  const told: string[] = [];
  function compare(what: string, planned: PlannedEvent, { code }: Verdict): void {
    const got = planned.verdict!.code ?? planned.verdict!.status;
    if (got !== code) told.push(`${what} was ${got}, not ${code}`);
  }
  for (const step of history.steps) {
    const verdicts = model.play(step);
    if ('closer' in step) closeAt(step.at + step.closer);
    else if ('settings' in step) {
      settings = { ...settings, ...step.settings };
      closeAt(step.at);
    } else if ('beat' in step) {
      const { identity: user, deviceId } = step.beat;
      const beat = { type: 'heartbeat', user, deviceId };
      const [planned] = send([ready(beat, step.at, step.close ? 'CLOSE' : 'BEAT')]);
      compare(`at ${step.at}: ${stepText(step)}`, planned!, verdicts[0]!);
    } else {
      const planned = send(step.events.map((event) => ready(event, step.at)));
      for (const [at, one] of planned.entries())
        compare(`at ${step.at}: ${eventText(step.events[at]!)}`, one, verdicts[at]!);
    }
  }
  const last = history.steps.at(-1)!.at;
  closeAt(last);
  model.play({ at: last, closer: 0 });
  const got = sessions.map((session) =>
    line(
      session.userId && identities.get(session.userId)!,
      session.deviceId,
      [session.startedAt / 1_000, session.lastActivityAt / 1_000],
      session.endReason,
      session.eventCount,
      session.errorCount,
    ),
  );
  const expected = model.sessions().map((session) => {
    const errors = session.stored.filter(({ type }) => type === 'error').length;
    // A session has ended at its last activity.
    const times = [session.start, session.end ?? session.last] as const;
    return line(session.user, session.device, times, session.reason, session.stored.length, errors);
  });
  const [texts, right] = [got, expected].map((lines) => lines.toSorted().join('\n    '));
  if (texts !== right) told.push(`sessions are\n    ${texts}\n  and not\n    ${right}`);
  return told.length > 0 ? told.map((one) => `  ${one}`).join('\n') : null;
}
