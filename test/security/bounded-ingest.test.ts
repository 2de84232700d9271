import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IngestOutcome } from '../../src/domain/event.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';
import { sessionsThatMiscount } from '../support/rules.js';
import { createStage, type Stage, type StageEvent } from '../support/stage.js';

/** What anybody with a page's key sends to ingest, as oddly as can be: its cost follows what was sent. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/**
 * The longest that this process, which is the server, worked without a break meanwhile, whoever else wants its cores:
 * milliseconds of processor time between two turns of the loop.
 */
async function standstill(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let before = process.cpuUsage();
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(before);
    longest = Math.max(longest, (user + system) / 1_000);
    before = process.cpuUsage();
  }, 1);
  await work();
  clearInterval(timer);
  return longest;
}

const DAY = 86_400;
const range = <One>(count: number, make: (at: number) => One): One[] =>
  Array.from({ length: count }, (_, at) => make(at));
/** The numbers from 0 on in an order that is none, the same each time. */
const mixed = (count: number): number[] => range(count, (at) => (at * 7_919) % count);

describe('starts of one user', () => {
  /** A session that has been open for two days, which late starts split. */
  async function prepare(): Promise<Stage> {
    const stage = await createStage(db, { inactivityTimeout: 3 * DAY, retentionDays: null });
    stage.at(2 * DAY);
    await stage.send({ type: 'log', t: 10, user: 'ada' }, { type: 'log', t: 2 * DAY, user: 'ada' });
    return stage;
  }
  const orders: [string, (request: number, at: number) => number][] = [
    ['in order', (request, at) => 20 + request * 10_000 + at],
    ['backwards', (request, at) => 20 + (6 - request) * 10_000 + at],
    ['mixed', (request, at) => 20 + (((request * 1_000 + at) * 7_919) % 7_000)],
    ['at one instant', () => 1_000],
    ['at one instant each', (request) => 1_000 + request],
  ];
  test.each(orders)(
    'seven requests of a thousand, %s: the loop goes on, and every count is right',
    async (name, time) => {
      const stage = await prepare();
      const requests = range(7, (request) =>
        range(1_000, (at): StageEvent => ({ type: 'session', t: time(request, at), user: 'ada' })),
      );
      const longest = await standstill(() => Promise.all(requests.map((events) => stage.send(...events))));
      expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
      // 60 to 180 ms; some of it may be of other threads, which collect garbage and compile.
      expect(longest).toBeLessThan(600);
      // Whatever is there by now, an event asks for what is beside it alone.
      stage.observations.length = 0;
      await stage.send({ type: 'session', t: 500, user: 'ada', startPolicy: 'RESUME' });
      const [read] = stage.observations.filter(
        (one) => one.kind === 'statement' && one.name === 'ingest.identitySessions',
      );
      expect(read).toMatchObject({ rows: 3 });
      record(`late starts, ${name}: a turn of the loop took at most (ms)`, Math.round(longest));
    },
  );
});

/** Bytes of data and types in the rows of a project's sessions, as they are told; and what they are counted as. */
async function kept(stage: Stage): Promise<{ sessions: number; bytes: number; largest: number; counted: number }> {
  const [row] = await stage.database.query<{ sessions: number; bytes: string; largest: number; counted: string }>({
    name: 'test.kept',
    text: `SELECT count(*)::integer AS sessions, sum(octet_length(data::text) + octet_length(event_types::text)) AS bytes,
                  max(octet_length(data::text) + octet_length(event_types::text)) AS largest, sum(kept_bytes) AS counted
           FROM sessions WHERE project_id = $1`,
    values: [stage.projectId],
  });
  return { ...row!, bytes: Number(row!.bytes), counted: Number(row!.counted) };
}

describe('what sessions hold', () => {
  const open = { inactivityTimeout: 3 * DAY, retentionDays: null };

  test('late starts hand on what is known of the client, but not without end', async () => {
    const stage = await createStage(db, open);
    stage.at(2 * DAY);
    const client = Object.fromEntries(range(2_500, (at) => [`@${at}`, 'twelve bytes']));
    await stage.send({ type: 'session', t: 10, user: 'ada', data: client }, { type: 'log', t: 2 * DAY, user: 'ada' });
    const requests = range(3, (request) =>
      range(1_000, (at): StageEvent => ({
        type: 'session',
        t: 100 + request * 1_000 + at,
        user: 'ada',
        data: { own: at },
      })),
    );
    // One after the other: of those that are sent at once any may be the first.
    const longest = await standstill(async () => {
      for (const events of requests) await stage.send(...events);
    });
    const { sessions, bytes } = await kept(stage);
    expect(sessions).toBe(3_001);
    expect(bytes).toBeLessThan(3_000_000);
    expect(longest).toBeLessThan(600);
    record(`late starts of a client that told much: a turn of the loop took at most (ms)`, Math.round(longest));
  });

  test('a number counts for what it is when it is written out', async () => {
    const stage = await createStage(db, open);
    const numbers = (fields: number): object =>
      Object.fromEntries(range(fields, (at) => [`many${at}`, range(40, () => (at % 2 ? 1e300 : 1e-300))]));
    // 6 kB and 120 kB as they are sent.
    const outcomes = await stage.send(
      { type: 'session', user: 'ada', data: { ...numbers(20) } },
      { type: 'session', user: 'bob', data: { ...numbers(400) } },
    );
    expect(outcomes).toMatchObject([{ status: 'ACCEPTED' }, { code: 'TOO_LARGE' }]);
    const { largest } = await kept(stage);
    expect(largest).toBeGreaterThan(30_000);
    expect(largest).toBeLessThan(66_000);
  });

  test('hundreds of sessions that are filled up: small events among them read little, and harm no other project', async () => {
    const [hog, other] = [await createStage(db, open), await createStage(db, open)];
    const half = 'x'.repeat(30_000);
    hog.at(2 * DAY);
    other.at(2 * DAY);
    await other.send({ type: 'session', t: 10, user: 'bob', data: { plan: 'pro' } });
    for (let request = 0; request < 3; request += 1) {
      const starts = range(100, (at): StageEvent => ({
        type: 'session',
        t: 100 + (request * 100 + at) * 10,
        user: 'ada',
        data: { first: half, second: half },
      }));
      await hog.send(...starts);
    }
    const { bytes } = await kept(hog);
    expect(bytes).toBeGreaterThan(18_000_000);
    hog.observations.length = 0;
    const among = mixed(300).map((at): StageEvent => ({
      type: 'session',
      t: 105 + at * 10,
      user: 'ada',
      version: '7',
      data: { more: 'x'.repeat(9_000) },
    }));
    let answers: [IngestOutcome[], IngestOutcome[]] = [[], []];
    const longest = await standstill(async () => {
      answers = await Promise.all([
        hog.send(...among),
        other.send({ type: 'log', t: 20, user: 'bob', data: { '@environment': { a: 1 } } }),
      ]);
    });
    expect(answers[0].map(({ status }) => status)).toEqual(among.map(() => 'ACCEPTED'));
    expect(answers[1]).toMatchObject([{ status: 'ACCEPTED' }]);
    // What was not read is as it was; the other project's session has learned what it could.
    const after = await kept(hog);
    expect([after.sessions, after.largest]).toEqual([301, 60_036]);
    expect(after.bytes - bytes).toBeLessThan(1_000_000);
    expect(Math.abs(after.counted - after.bytes)).toBeLessThan(10 * after.sessions);
    expect((await kept(other)).bytes).toBeGreaterThan(50);
    expect(longest).toBeLessThan(600);
    expect(await sessionsThatMiscount(hog.database, hog.projectId)).toEqual([]);
  });
});

describe('what is sent once and named many times', () => {
  const send = async (data: Record<string, unknown>, count = 1_000): Promise<IngestOutcome[]> => {
    const stage = await createStage(db);
    return stage.send(...range(count, () => ({ type: 'log', data })));
  };
  /** An array in an array, and so on. */
  const nested = (levels: number): unknown[] => {
    let value: unknown[] = [];
    for (let at = 0; at < levels; at += 1) value = [value];
    return value;
  };
  const values: [string, () => Record<string, unknown>][] = [
    ['as much as an event may have', () => ({ text: 'x'.repeat(200_000) })],
    ['more than an event may have', () => ({ text: 'x'.repeat(4_000_000) })],
    ['much, and too deep', () => ({ text: 'x'.repeat(4_000_000), deep: nested(200) })],
    ['much, and too deep to be told', () => ({ text: 'x'.repeat(4_000_000), deep: nested(100_000) })],
  ];
  test.each(values)('%s: the request is refused as soon as it comes to too much', async (_name, make) => {
    const data = make();
    const longest = await standstill(() =>
      expect(send(data)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: { field: 'events' } }),
    );
    expect(longest).toBeLessThan(600);
    // One of them is refused alone, or taken.
    expect(await send({ ...data }, 2)).toHaveLength(2);
  });
});
