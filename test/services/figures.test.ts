import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EVENT_DIMENSIONS, SESSION_DIMENSIONS, type EventDimension } from '../../src/domain/breakdown.js';
import { userIdOf } from '../../src/domain/identity.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { nameIn, type NamedInterval } from '../support/local-time.js';
import { createStage, type Stage, type StageEvent } from '../support/stage.js';

/** Figures of sessions and events are those of a plain model, in every time zone, and their groups add up. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const USERS = ['ada', 'bob', 'cyd'];
/** Clocks of the last two change within the days of these tests. */
const ZONES = ['UTC', 'America/Los_Angeles', 'Asia/Kolkata', 'Australia/Sydney', 'Australia/Lord_Howe'];
const zone = fc.constantFrom(...ZONES);
const interval = fc.constantFrom<NamedInterval>('HOUR', 'DAY', 'WEEK', 'MONTH');
const DAY = 86_400;
const seconds = fc.integer({ min: -3 * DAY + 60, max: -1 });
/** A range, or a part of it, or none. */
const range = fc.record({ from: fc.option(seconds), to: fc.option(seconds) });
const asRange = (stage: Stage, { from, to }: { from: number | null; to: number | null }) => ({
  from: from === null ? null : stage.time(from).toISOString(),
  to: to === null ? null : stage.time(to).toISOString(),
});
const isIn = ({ from, to }: { from: number | null; to: number | null }, t: number): boolean =>
  (from === null || t >= from) && (to === null || t < to);

interface Counted {
  readonly user: string | null;
  /** Seconds. */
  readonly duration: number | null;
}
const usersOf = (rows: readonly Counted[]): number => new Set(rows.flatMap(({ user }) => user ?? [])).size;
const meanOf = (rows: readonly Counted[]): unknown => {
  const known = rows.flatMap(({ duration }) => duration ?? []);
  return known.length === 0 ? null : expect.closeTo(known.reduce((sum, one) => sum + one, 0) / known.length, 6);
};

/** The model of a breakdown. */
function groupsOf<Row extends Counted>(rows: readonly Row[], valuesOf: (row: Row) => readonly (string | null)[]) {
  const groups = new Map<string | null, Row[]>();
  for (const row of rows)
    for (const value of new Set(valuesOf(row))) groups.set(value, [...(groups.get(value) ?? []), row]);
  const bySize = [...groups].toSorted(
    ([one, some], [other, others]) =>
      others.length - some.length || Number(one === null) - Number(other === null) || (one! < other! ? -1 : 1),
  );
  return bySize.map(([value, own]) => ({
    value,
    count: own.length,
    users: usersOf(own),
    averageDuration: meanOf(own),
  }));
}

/** What a series is by the model: of each interval in order, the rows that are in it by what the local clock shows. */
function expectSeries(
  series: readonly { at: string; count: number; users: number }[],
  rows: readonly (Counted & { t: number })[],
  stage: Stage,
  nameOf: (at: number) => string,
): void {
  const names = series.map(({ at }) => nameOf(Date.parse(at)));
  expect(new Set(names).size).toBe(names.length);
  expect(series.map(({ at }) => at)).toEqual(series.map(({ at }) => at).toSorted());
  for (const [index, { count, users }] of series.entries()) {
    const own = rows.filter(({ t }) => nameOf(stage.time(t).getTime()) === names[index]);
    expect({ count, users }).toEqual({ count: own.length, users: usersOf(own) });
  }
  expect(series.reduce((sum, { count }) => sum + count, 0)).toBe(rows.length);
}

describe('of sessions', () => {
  const text = fc.option(fc.constantFrom('a', 'B', 'é', 'zz'));
  const session = fc.record({
    user: fc.option(fc.constantFrom(...USERS)),
    t: seconds,
    duration: fc.integer({ min: 0, max: 5_000 }),
    errors: fc.integer({ min: 0, max: 1 }),
    browser_name: text,
    os_name: text,
    device: text,
    country: fc.option(fc.constantFrom('DE', 'IN')),
    region: text,
    city: text,
    version: text,
    entry_source: text,
    exit_source: text,
    end_reason: fc.option(fc.constantFrom('CLIENT', 'INACTIVITY')),
  });

  async function fill(stage: Stage, sessions: readonly (typeof session extends fc.Arbitrary<infer S> ? S : never)[]) {
    const rows = sessions.map(({ user, t, duration, errors, ...columns }, at) => ({
      ...columns,
      project_id: stage.projectId,
      id: randomUUID(),
      // With a key, a user may have several that are open.
      key: `key-${at}`,
      user_id: user === null ? null : userIdOf(stage.projectId, user),
      started_at: stage.time(t),
      last_activity_at: stage.time(t + duration),
      online_until: stage.time(t + duration),
      ended_at: columns.end_reason === null ? null : stage.time(t + duration),
      error_count: errors,
      event_count: 1,
      ended_event_count: columns.end_reason === null ? null : 1,
    }));
    await stage.database.query({
      name: 'test.users',
      text: 'INSERT INTO users (project_id, id, identity) SELECT $1, id, identity FROM unnest($2::uuid[], $3::text[]) u (id, identity)',
      values: [stage.projectId, USERS.map((user) => userIdOf(stage.projectId, user)), USERS],
    });
    const names = Object.keys(rows[0]!).join(', ');
    await stage.database.query({
      name: 'test.sessions',
      text: `INSERT INTO sessions (${names}, live, event_types, data)
             SELECT ${names}, false, '{}', '{}' FROM json_populate_recordset(NULL::sessions, $1)`,
      values: [JSON.stringify(rows)],
    });
  }

  test('totals, series and groups are those of the model', async () => {
    const asked = fc.record({
      sessions: fc.array(session, { minLength: 1, maxLength: 40 }),
      zone,
      interval,
      range,
      only: fc.option(fc.constantFrom(...USERS)),
      first: fc.integer({ min: 0, max: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(asked, async ({ sessions, zone: timeZone, interval: unit, range: given, only, first }) => {
        const stage = await createStage(db);
        await fill(stage, sessions);
        const { data } = await createExecutor(stage);
        const dimensions = Object.entries(SESSION_DIMENSIONS);
        const answer = await data(
          `query ($filter: SessionFilter, $interval: TimeInterval!, $timeZone: String!, $first: Int!) {
             sessionStats(filter: $filter, interval: $interval, timeZone: $timeZone) {
               totals { sessions users averageDuration medianDuration p95Duration sessionsWithErrors }
               series { at count: sessions users averageDuration } }
             ${dimensions.map(([name]) => `${name}: sessionBreakdown(by: ${name}, filter: $filter, first: $first) { totalCount groups { value count users averageDuration } }`).join('\n')} }`,
          { filter: { startedAt: asRange(stage, given) }, interval: unit, timeZone, first },
          only === null ? {} : { reach: { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, only)] } },
        );
        const rows = sessions.filter(({ t, user }) => isIn(given, t) && (only === null || user === only));
        const durations = rows.map(({ duration }) => duration).toSorted((a, b) => a - b);
        const percentile = (part: number): unknown => {
          if (durations.length === 0) return null;
          const place = part * (durations.length - 1);
          const low = durations[Math.floor(place)]!;
          return expect.closeTo(low + (durations[Math.ceil(place)]! - low) * (place % 1), 6);
        };
        const { totals, series } = answer.sessionStats;
        expect(totals).toEqual({
          sessions: rows.length,
          users: usersOf(rows),
          averageDuration: meanOf(rows),
          medianDuration: percentile(0.5),
          p95Duration: percentile(0.95),
          sessionsWithErrors: rows.filter(({ errors }) => errors > 0).length,
        });
        const nameOf = nameIn(timeZone, unit);
        expectSeries(series, rows, stage, nameOf);
        for (const { at, averageDuration } of series)
          expect(averageDuration).toEqual(
            meanOf(rows.filter(({ t }) => nameOf(stage.time(t).getTime()) === nameOf(Date.parse(at)))),
          );
        for (const [name, { column }] of dimensions) {
          const all = groupsOf(rows, (row) => [row[column]]);
          expect(answer[name]).toEqual({ totalCount: totals.sessions, groups: all.slice(0, first) });
          expect(all.reduce((sum, { count }) => sum + count, 0)).toBe(totals.sessions);
        }
      }),
      { numRuns: 25 },
    );
  }, 120_000);
});

describe('of events', () => {
  const text = fc.option(fc.constantFrom('a', 'B', 'é', 'zz'), { nil: undefined });
  const event = fc.record({
    user: fc.option(fc.constantFrom(...USERS)),
    t: seconds,
    type: fc.constantFrom('log', 'error', 'page view'),
    source: text,
    message: text,
    version: text,
    // The same tag twice, too.
    tags: fc.array(fc.constantFrom('red', 'green', 'blue'), { maxLength: 4 }),
  });
  type Sent = typeof event extends fc.Arbitrary<infer E> ? E : never;
  const VALUES: Record<EventDimension, (event: Sent) => readonly (string | null)[]> = {
    TYPE: ({ type }) => [type],
    SOURCE: ({ source }) => [source ?? null],
    MESSAGE: ({ message }) => [message ?? null],
    TAG: ({ tags }) => (tags.length === 0 ? [null] : tags),
    VERSION: ({ version }) => [version ?? null],
  };

  test('totals, series and groups are those of the model', async () => {
    const asked = fc.record({
      events: fc.array(event, { minLength: 1, maxLength: 30 }),
      zone,
      interval,
      range,
      only: fc.option(fc.constantFrom(...USERS)),
      first: fc.integer({ min: 0, max: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(asked, async ({ events, zone: timeZone, interval: unit, range: given, only, first }) => {
        const stage = await createStage(db);
        await stage.send(
          ...events.map(({ user, ...rest }): StageEvent => ({ ...rest, ...(user === null ? {} : { user }) })),
        );
        const { data } = await createExecutor(stage);
        const dimensions = Object.keys(EVENT_DIMENSIONS) as EventDimension[];
        const answer = await data(
          `query ($filter: EventFilter, $interval: TimeInterval!, $timeZone: String!, $first: Int!) {
             eventStats(filter: $filter, interval: $interval, timeZone: $timeZone) { total users series { at count: events users } }
             ${dimensions.map((name) => `${name}: eventBreakdown(by: ${name}, filter: $filter, first: $first) { totalCount groups { value count users averageDuration } }`).join('\n')} }`,
          { filter: { occurredAt: asRange(stage, given) }, interval: unit, timeZone, first },
          only === null ? {} : { reach: { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, only)] } },
        );
        const rows = events
          .filter(({ t, user }) => isIn(given, t) && (only === null || user === only))
          .map((one) => ({ ...one, duration: null }));
        const { total, users, series } = answer.eventStats;
        expect({ total, users }).toEqual({ total: rows.length, users: usersOf(rows) });
        expectSeries(series, rows, stage, nameIn(timeZone, unit));
        for (const name of dimensions) {
          const all = groupsOf(rows, VALUES[name]);
          const sum = all.reduce((counted, { count }) => counted + count, 0);
          expect(answer[name]).toEqual({ totalCount: sum, groups: all.slice(0, first) });
          if (name !== 'TAG') expect(sum).toBe(total);
        }
      }),
      { numRuns: 25 },
    );
  }, 120_000);

  test('that a search finds', async () => {
    const stage = await createStage(db);
    await stage.send(
      { user: 'ada', t: -60, message: 'Disk full', type: 'error' },
      { user: 'ada', t: -50, message: 'disk FULL again', type: 'log' },
      { user: 'bob', t: -40, message: 'fine', type: 'log' },
    );
    const { data } = await createExecutor(stage);
    const { eventStats, eventBreakdown } = await data(`{
      eventStats(filter: { search: "disk full" }, interval: DAY) { total users series { events } }
      eventBreakdown(by: TYPE, filter: { search: "disk full" }) { totalCount groups { value count } } }`);
    expect(eventStats).toEqual({ total: 2, users: 1, series: [{ events: 2 }] });
    expect(eventBreakdown).toEqual({
      totalCount: 2,
      groups: [
        { value: 'error', count: 1 },
        { value: 'log', count: 1 },
      ],
    });
  });
});

describe('bad arguments', () => {
  test('say what would be right', async () => {
    const stage = await createStage(db);
    const { run } = await createExecutor(stage);
    const from = '{ from: "2026-09-01T00:00:00Z" }';
    const cases: [string, string, string][] = [
      ['sessionStats(timeZone: "Mars/Phobos") { totals { users } }', 'timeZone', 'Europe/Berlin'],
      [`eventStats(timeZone: "${'x'.repeat(10_000)}") { total }`, 'timeZone', 'Europe/Berlin'],
      ['concurrency(range: {}, timeZone: "+02:00") { peak }', 'timeZone', 'Europe/Berlin'],
      [`eventStats(filter: { occurredAt: ${from} }, interval: MINUTE) { total }`, 'interval', 'with HOUR it fits'],
      [`sessionStats(filter: { startedAt: ${from} }, interval: MINUTE) { series { at } }`, 'interval', 'with HOUR'],
      ['sessionBreakdown(by: BROWSER, first: 101) { totalCount }', 'first', '0 to 100'],
      ['eventBreakdown(by: TYPE, first: -1) { totalCount }', 'first', '0 to 100'],
      [
        'eventBreakdown(by: TYPE, filter: { occurredAt: { from: "soon" } }) { totalCount }',
        'filter.occurredAt.from',
        'RFC 3339',
      ],
    ];
    for (const [field, name, right] of cases) {
      const { errors } = await run(`{ ${field} }`);
      const original = errors![0]!.originalError as { code?: string; message: string; details?: { field?: string } };
      expect(original.code).toMatch(/^(BAD_USER_INPUT|TOO_MANY_INTERVALS)$/);
      expect(original.details!.field).toBe(name);
      expect(original.message).toContain(right);
      expect(original.message.length).toBeLessThan(200);
    }
  });
});
