import fc from 'fast-check';
import { expect, test } from 'vitest';
import { uuidAt } from '../../src/domain/event-id.js';
import { planIdentity, type IdentityState } from '../../src/domain/identity-sessions.js';
import type { PlannedEvent, ReadyEvent } from '../../src/domain/planned-event.js';
import type { SessionEndReason, WorkingSession } from '../../src/domain/session.js';
import { startSession } from '../../src/domain/working-session.js';

/** Of a user's sessions those just beside the events are enough to plan: with all of them it comes out the same. */

const MINUTE = 60_000;
const EPOCH = Date.UTC(2026, 9, 5, 12);
const SETTINGS = { inactivityTimeout: 300, presenceTimeout: 75, retentionDays: null, outage: null };

const eventAt = (type: string, time: number): ReadyEvent =>
  ({
    projectId: 'project',
    type,
    time,
    receivedAt: EPOCH + 1_000 * MINUTE,
    user: { id: 'ada' },
    sessionKey: null,
    deviceId: null,
    call: null,
    startPolicy: null,
    attributes: { data: {} },
  }) as unknown as ReadyEvent;

/** The id without what chance has given to it. */
const idOf = (id: string, number: number): string => `${id.slice(0, 19)}8000-${String(number).padStart(12, '0')}`;

interface Stored {
  readonly minutes: number;
  readonly apart: number;
  readonly endReason: SessionEndReason;
  readonly explicitStart: boolean;
}

/** Sessions one after the other as they are read; the last may be open. */
function storedSessions(stored: readonly Stored[], isOpen: boolean): WorkingSession[] {
  let time = EPOCH;
  return stored.map(({ minutes, apart, endReason, explicitStart }, at) => {
    const id = idOf(uuidAt(time), at);
    const session = startSession({ event: eventAt('log', time), request: -1, verdict: null }, id, { userId: 'ada' });
    const lastActivityAt = time + minutes * MINUTE;
    const under = [{ under: id, at: time, events: 1, errors: 0, types: ['log'] }];
    time = lastActivityAt + apart * MINUTE + (endReason === 'INACTIVITY' ? 5 * MINUTE + 1 : 0);
    return Object.assign(session, {
      lastActivityAt,
      explicitStart,
      endReason: isOpen && at === stored.length - 1 ? null : endReason,
      eventCount: 1,
      stored: under,
      isNew: false,
      moved: false,
      startedBy: null,
    });
  });
}

/** What readIdentitySessions reads of them. */
function beside(sessions: readonly WorkingSession[], times: readonly number[]): Set<WorkingSession> {
  const found = new Set(sessions.slice(-1));
  for (const time of times) {
    for (const one of [
      sessions.findLast(({ startedAt }) => startedAt <= time),
      sessions.find(({ startedAt }) => startedAt > time),
    ])
      if (one) found.add(one);
  }
  return found;
}

const stored = fc.record<Stored>({
  minutes: fc.integer({ min: 0, max: 4 }),
  apart: fc.integer({ min: 0, max: 3 }),
  endReason: fc.constantFrom('INACTIVITY', 'INACTIVITY', 'CLIENT', 'SUPERSEDED'),
  explicitStart: fc.boolean(),
});
const sent = fc.record({
  type: fc.constantFrom('log', 'error', 'heartbeat', 'session', 'session', 'sessionend'),
  minute: fc.integer({ min: -10, max: 80 }),
});

test('rules 2 to 18: the sessions beside the events are enough', () => {
  const property = fc.property(
    fc.array(stored, { maxLength: 10 }),
    fc.boolean(),
    fc.array(fc.array(sent, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 3 }),
    fc.constantFrom('RESTART' as const, 'RESUME' as const),
    (before, isOpen, requests, sessionStart) => {
      const outcome = (isAllRead: boolean) => {
        const all = storedSessions(before, isOpen);
        const planned = requests.map((events, request) =>
          events.map(({ type, minute }): PlannedEvent => ({
            event: eventAt(type, EPOCH + minute * MINUTE),
            request,
            verdict: null,
          })),
        );
        const times = planned.flat().map(({ event }) => event.time);
        const near = beside(all, times);
        const read = isAllRead ? all : all.filter((session) => near.has(session));
        const state: IdentityState = { sessions: [...read], ends: new Map() };
        let made = 0;
        planIdentity(state, planned, {
          settings: { ...SETTINGS, sessionStart },
          newSessionId: (at, place) => idOf(uuidAt(at, place), (made += 1)),
        });
        const told = (session: WorkingSession | null) => session?.id ?? null;
        return {
          verdicts: planned.flat().map(({ verdict }) => [verdict!.status, verdict!.code, told(verdict!.session)]),
          // What was not read is as it was.
          sessions: [...state.sessions, ...all.filter((session) => !read.includes(session))]
            .toSorted((a, b) => (a.id < b.id ? -1 : 1))
            .map((session) => [
              session.id,
              told(session.mergedInto),
              session.startedAt,
              session.lastActivityAt,
              session.endReason,
              session.eventCount,
              session.moved,
              session.stored,
            ]),
        };
      };
      expect(outcome(false)).toEqual(outcome(true));
    },
  );
  fc.assert(property, { numRuns: 2_000 });
});
