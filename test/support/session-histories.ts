import fc from 'fast-check';
import type { History } from './session-history.js';
import type { ModelEvent, ModelSettings, Step } from './session-model.js';

/** Random histories of a project. Times lie on a small grid, so that many are equal and many lie exactly at a timeout. */

const GRID = 5;
const grid = (steps: number): fc.Arbitrary<number> => fc.nat(steps).map((step) => step * GRID);

const POLICIES = ['RESTART', 'RESUME'] as const;

const settings: fc.Arbitrary<ModelSettings> = fc.record({
  inactivityTimeout: fc.constantFrom(20, 10, 15, 300),
  presenceTimeout: fc.constantFrom(75, 2, 10, 20),
  sessionStart: fc.constantFrom(...POLICIES),
});

const changes: fc.Arbitrary<Partial<ModelSettings>> = fc.oneof(
  fc.record({ inactivityTimeout: fc.constantFrom(10, 20, 40) }),
  fc.record({ presenceTimeout: fc.constantFrom(2, 20, 75) }),
  fc.record({ sessionStart: fc.constantFrom(...POLICIES) }),
);

/** The user, device and session key of an event. */
interface Who {
  readonly user?: string;
  readonly deviceId?: string;
  readonly sessionKey?: string;
}

export interface Kinds {
  readonly who: readonly Who[];
  readonly types: readonly string[];
  readonly ids?: readonly string[];
  /** How late events may be, in seconds, in addition to the values of the grid. */
  readonly late?: readonly number[];
  /** The smallest time between two events, in seconds; 0: events may have the same time. */
  readonly apart?: number;
  /** How far a client's clock is ahead of the server's, in seconds, in requests with sentAt. */
  readonly skews?: readonly number[];
}

/** Makes histories: what happens, how long after the step before, and how late the events arrive. */
export function histories({ who, types, ids = [], late = [], apart = 0, skews = [] }: Kinds): fc.Arbitrary<History> {
  const event = fc.record({
    type: fc.constantFrom(...types),
    // null: an event without a time, which means now. Below 0: in the future.
    ago: fc.oneof({ weight: 3, arbitrary: grid(12) }, { weight: 1, arbitrary: fc.constantFrom(null, 0, -5, ...late) }),
    who: fc.constantFrom(...who),
    id: fc.constantFrom(undefined, ...ids),
    /** BY_REFERENCE: a start that names its session by its referenceId. RESUME: a start as the collector sends it. */
    start: fc.constantFrom('PLAIN', 'PLAIN', 'PLAIN', 'BY_REFERENCE', 'RESUME'),
    source: fc.constantFrom(undefined, '/a', '/b', '/c'),
  });
  const step = fc.record({
    wait: fc.oneof(fc.constant(0), grid(6)),
    what: fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          events: fc.array(event, { minLength: 1, maxLength: 4 }),
          skew: fc.constantFrom(undefined, ...skews),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          // A heartbeat without user and key is refused as a whole request; no rule applies.
          of: fc.constantFrom(
            ...who.filter(
              ({ user, deviceId, sessionKey }) => user?.trim() !== 'null' && (user ?? deviceId ?? sessionKey),
            ),
          ),
          close: fc.boolean(),
        }),
      },
      { weight: 2, arbitrary: fc.record({ closer: fc.constantFrom(0, 0, 5, 20) }) },
      { weight: 1, arbitrary: fc.record({ settings: changes }) },
    ),
  });
  return fc.record({ settings, steps: fc.array(step, { minLength: 1, maxLength: 8 }) }).map(({ settings, steps }) => {
    let at = 60;
    let count = 0;
    const timeOf = (ago: number | null, skew: number): number | null => {
      if (apart === 0) return ago === null ? null : at + skew - ago;
      count += 1;
      return Math.round((at + skew - Math.max(ago ?? 0, 0) - count * apart) * 1_000) / 1_000;
    };
    return {
      settings,
      steps: steps.map(({ wait, what }): Step => {
        at += wait;
        if ('closer' in what || 'settings' in what) return { at, ...what };
        if ('of' in what) {
          const { user: identity, deviceId, sessionKey } = what.of;
          const named = { ...(identity !== undefined && { identity }), ...(deviceId !== undefined && { deviceId }) };
          return { at, close: what.close, beat: sessionKey === undefined ? named : { sessionKey } };
        }
        const events = what.events.map(
          ({ type, ago, who: { user, deviceId, sessionKey }, id, start, source }): ModelEvent => {
            const t = timeOf(ago, what.skew ?? 0);
            const name = type === 'session' && start === 'BY_REFERENCE' ? 'referenceId' : 'sessionKey';
            return {
              type,
              ...(t !== null && { t }),
              ...(user !== undefined && { user }),
              ...(deviceId !== undefined && { deviceId }),
              ...(sessionKey !== undefined && { [name]: sessionKey }),
              ...(id !== undefined && { id }),
              ...(source !== undefined && { source }),
              // Only the collector sets RESUME, and it never sends sentAt.
              ...(type === 'session' &&
                start === 'RESUME' &&
                what.skew === undefined && { startPolicy: 'RESUME' as const }),
            };
          },
        );
        return { at, events, ...(what.skew !== undefined && { sentAt: at + what.skew }) };
      }),
    };
  });
}
