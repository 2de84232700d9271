import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DateTime } from '../../src/schema/scalars.js';
import { createProject, OPERATOR_KEY, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type ServerProcess } from '../support/server.js';
import { redisUrl } from '../support/redis.js';

const INGEST =
  'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted results { status code } } }';
const HOUR = 3_600_000;
const preload = fileURLToPath(new URL('../support/wrong-clock.mjs', import.meta.url));

let db: TestDatabase;
let ahead: ServerProcess;
let behind: ServerProcess;
let key: string;

beforeAll(async () => {
  db = await createTestDatabase();
  const start = (wrong: number) =>
    startServer({
      DATABASE_URL: db.url,
      REDIS_URL: redisUrl(),
      OPERATOR_KEY,
      CLOSER_INTERVAL: '50ms',
      NODE_OPTIONS: `--import=${preload}`,
      WRONG_CLOCK: String(wrong),
    });
  ahead = await start(HOUR);
  behind = await start(-HOUR);
  key = await createProject(ahead.url, { inactivityTimeout: 10, presenceTimeout: 5 });
});
afterAll(async () => {
  await Promise.all([ahead.stop(), behind.stop()]);
  await db.drop();
});

const send = async (server: ServerProcess, event: object): Promise<any> =>
  (await post(server.url, key, INGEST, { events: [event] })).data.ingestEvents;

describe('two servers whose clocks are an hour ahead and an hour behind', () => {
  test("agree on the time, which is Postgres'", async () => {
    const user = { identity: 'ada' };
    for (const server of [ahead, behind, ahead]) {
      expect(await send(server, { type: 'log', user })).toMatchObject({ accepted: 1 });
    }
    const { data } = await post(
      behind.url,
      key,
      '{ sessions { nodes { status startedAt lastActivityAt eventCount user { presence { status } } events { nodes { occurredAt receivedAt } } } } }',
    );
    expect(data.sessions.nodes).toHaveLength(1);
    const [session] = data.sessions.nodes;
    // Neither server's closer takes the other's session for one that has been silent for hours.
    expect(session).toMatchObject({ status: 'ACTIVE', eventCount: 3, user: { presence: { status: 'ONLINE' } } });
    for (const { occurredAt } of session.events.nodes) {
      expect(Math.abs(Date.parse(occurredAt) - Date.now())).toBeLessThan(60_000);
    }
  });

  test('let a token live as long as it says, on either', async () => {
    const made = await post(ahead.url, key, 'mutation { createAccessToken(scopes: [READ], expiresIn: 60) { token } }');
    const { token } = made.data.createAccessToken;
    for (const { url } of [ahead, behind]) {
      expect((await post(url, token, '{ sessions { totalCount } }')).status).toBe(200);
    }
  });
});

describe('times', () => {
  const now = Date.now();

  test('one instant, in whichever zone it is written', async () => {
    const at = new Date(Math.floor(now / 60_000) * 60_000 - HOUR);
    const zones = ['Z', '+00:00', '+05:30', '-11:00', '+14:00', '-03:30', '+12:45'];
    for (const zone of zones) {
      const [, sign, hours, minutes] = /^([+-])(\d\d):(\d\d)$/.exec(zone) ?? [];
      const shift = sign ? Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes)) * 60_000 : 0;
      const occurredAt = `${new Date(at.getTime() + shift).toISOString().slice(0, -1)}${zone}`;
      expect(await send(ahead, { type: 'zone', occurredAt })).toMatchObject({ accepted: 1 });
    }
    const { data } = await post(ahead.url, key, '{ events(filter: { types: ["zone"] }) { nodes { occurredAt } } }');
    const times = data.events.nodes.map(({ occurredAt }: { occurredAt: string }) => occurredAt);
    expect(times).toEqual(zones.map(() => at.toISOString()));
  });

  test.each([
    ['2028-02-29T12:00:00Z', '2028-02-29T12:00:00.000Z'],
    ['2000-02-29T23:59:59.999-00:30', '2000-03-01T00:29:59.999Z'],
    ['2026-12-31T23:59:59+00:00', '2026-12-31T23:59:59.000Z'],
  ])('%s is %s', (text, iso) => {
    expect(DateTime.parseValue(text).toISOString()).toBe(iso);
  });

  test.each([
    '2026-02-29T12:00:00Z',
    '2100-02-29T12:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-11-24T24:00:00Z',
    '2016-12-31T23:59:60Z',
    '2026-11-24T12:00:00',
    '2026-11-24',
    '20261124T120000Z',
  ])('%s is no instant: the event is rejected with a code, and no other is harmed', async (occurredAt) => {
    const { data } = await post(behind.url, key, INGEST, { events: [{ type: 'bad', occurredAt }, { type: 'good' }] });
    expect(data.ingestEvents.accepted).toBe(1);
    expect(data.ingestEvents.results[0]).toMatchObject({
      status: 'REJECTED',
      code: expect.stringMatching(/^[A-Z_]+$/),
    });
  });
});
