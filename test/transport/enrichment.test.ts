import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GeographyError, openGeography } from '../../src/adapters/maxmind.js';
import { connect, createProject, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { look, postEvents } from '../support/collector.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createMmdb } from '../support/mmdb.js';
import { temporaryFolder } from '../support/server.js';

/** What the server finds out about clients by itself, at every door. */

const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36';
const GOOGLEBOT = 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)';

const { folder, remove } = temporaryFolder();
const file = path.join(folder, 'places.mmdb');
let db: TestDatabase;
let direct: TestApp;
let behindProxy: TestApp;
beforeAll(async () => {
  writeFileSync(
    file,
    createMmdb({
      '81.2.69.0/24': {
        country: { iso_code: 'GB', names: { en: 'United Kingdom' } },
        subdivisions: [{ iso_code: 'ENG', names: { en: 'England' } }],
        city: { names: { en: 'London' } },
      },
      '2001:db8::/32': { country: { iso_code: 'DE' } },
      '127.0.0.0/8': { country_code: 'ZZ' },
    }),
  );
  db = await createTestDatabase();
  direct = await startTestApp(db, { GEOIP_DATABASE: file });
  behindProxy = await startTestApp(db, { GEOIP_DATABASE: file, TRUSTED_PROXIES: 'loopback, 10.0.0.0/8' });
});
afterAll(async () => {
  await Promise.all([direct.close('test'), behindProxy.close('test')]);
  await db.drop();
  remove();
});

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status code } } }';

/** Sends one event of ada's by GraphQL, with these headers and this @request; answers her session. */
async function sessionOf(url: string, headers: Record<string, string>, request?: object): Promise<any> {
  const key = await createProject(url);
  const event = { user: { identity: 'ada' }, ...(request && { data: { '@request': request } }) };
  await post(url, key, INGEST, { events: [event] }, { headers });
  return (await look(url, key)).sessions[0];
}

describe('browser, system, device and bots', () => {
  test("come from the connection's user agent where it is a browser's", async () => {
    const session = await sessionOf(direct.url, { 'User-Agent': CHROME });
    expect(session).toMatchObject({
      browser: { name: 'Chrome', version: '141.0.0.0' },
      os: { name: 'Windows' },
      device: 'desktop',
      isBot: false,
    });
  });

  test("the event's own counts more, and a library says nothing of its users", async () => {
    const phone =
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1';
    const session = await sessionOf(direct.url, { 'User-Agent': CHROME }, { user_agent: phone });
    expect(session).toMatchObject({ browser: { name: 'Safari' }, os: { name: 'iOS' }, device: 'iPhone' });
    expect(await sessionOf(direct.url, { 'User-Agent': 'curl/8.5.0' })).toMatchObject({
      browser: null,
      os: null,
      isBot: false,
    });
  });

  test('a heartbeat describes the session that it opens, over a WebSocket too', async () => {
    const key = await createProject(direct.url);
    const headers = { 'User-Agent': CHROME };
    await post(
      direct.url,
      key,
      'mutation { recordHeartbeat(input: { identity: "ada" }) { acknowledged } }',
      {},
      { headers },
    );
    expect((await look(direct.url, key)).sessions).toMatchObject([
      { browser: { name: 'Chrome' }, ipAddress: '127.0.0.1' },
    ]);
    const client = connect(direct.url, key);
    const sent = listen(client, INGEST, { events: [{ user: { identity: 'bob' } }] });
    await sent.ended;
    await client.dispose();
    const { sessions } = await look(direct.url, key);
    expect(sessions.find(({ user }) => user.identity === 'bob')).toMatchObject({ ipAddress: '127.0.0.1' });
  });

  test('bots are marked, or dropped where the project says so; filters find them', async () => {
    const { url } = direct;
    const key = await createProject(url);
    const headers = { 'User-Agent': GOOGLEBOT };
    const event = { message: 'crawled', data: { '@user': { identity: 'bot' }, '@request': { user_agent: GOOGLEBOT } } };
    await postEvents(url, key, [event]);
    await post(url, key, INGEST, { events: [{ user: { identity: 'ada' } }] }, { headers: { 'User-Agent': CHROME } });
    const found = await post(
      url,
      key,
      '{ bots: sessions(filter: { isBot: true }) { nodes { user { identity } } } people: sessions(filter: { isBot: false }) { nodes { user { identity } } } }',
    );
    expect(found.data).toEqual({
      bots: { nodes: [{ user: { identity: 'bot' } }] },
      people: { nodes: [{ user: { identity: 'ada' } }] },
    });
    await post(url, key, 'mutation { updateProject(settings: { bots: DROP }) { id } }');
    const refused = await post(url, key, INGEST, { events: [{ user: { identity: 'other' } }] }, { headers });
    expect(refused.data.ingestEvents.results).toEqual([{ status: 'REJECTED', code: 'BOT' }]);
    const beat = await post(
      url,
      key,
      'mutation { recordHeartbeat(input: { identity: "other" }) { acknowledged } }',
      {},
      { headers },
    );
    expect(beat.data.recordHeartbeat.acknowledged).toBe(false);
    expect(
      (await postEvents(url, key, [event, { message: 'by a person', data: { '@user': { identity: 'eve' } } }])).status,
    ).toBe(202);
    expect((await look(url, key)).sessions.map(({ user }) => user.identity).toSorted()).toEqual(['ada', 'bot', 'eve']);
  });
});

describe('IP addresses', () => {
  const forwarded = { 'X-Forwarded-For': '81.2.69.142' };

  test("is the connection's; a stranger's header counts for nothing", async () => {
    expect(await sessionOf(direct.url, forwarded)).toMatchObject({ ipAddress: '127.0.0.1' });
  });

  test('is what trusted proxies say, and only as far as they say it', async () => {
    const { url } = behindProxy;
    expect(await sessionOf(url, forwarded)).toMatchObject({ ipAddress: '81.2.69.142' });
    expect(await sessionOf(url, { 'X-Forwarded-For': '6.6.6.6, 81.2.69.142, 10.1.2.3' })).toMatchObject({
      ipAddress: '81.2.69.142',
    });
  });

  test("is the event's own where it gives one; an empty one keeps the connection's out", async () => {
    expect(await sessionOf(direct.url, {}, { client_ip_address: '81.2.69.1, 10.0.0.1' })).toMatchObject({
      ipAddress: '81.2.69.1',
    });
    expect(await sessionOf(direct.url, {}, { client_ip_address: '' })).toMatchObject({
      ipAddress: null,
      location: null,
    });
    expect(await sessionOf(direct.url, {}, { client_ip_address: null })).toMatchObject({ ipAddress: '127.0.0.1' });
  });

  test('is not stored, nowhere, where the project says so; the country is', async () => {
    const { url } = behindProxy;
    const key = await createProject(url, { storeIpAddress: false });
    const body = [
      { message: 'x', data: { '@user': { identity: 'ada' }, '@environment': { ip_address: '192.168.0.7' } } },
    ];
    await postEvents(url, key, body, forwarded);
    const seen = await look(url, key);
    expect(seen.sessions).toMatchObject([{ ipAddress: null, location: { country: 'GB' } }]);
    expect(JSON.stringify(seen)).not.toMatch(/81\.2\.69|192\.168|127\.0\.0/);
  });
});

describe('geography', () => {
  test('comes with the address, of either family; filters use it', async () => {
    const { url } = direct;
    const key = await createProject(url);
    const from = (identity: string, client_ip_address: string, more: object = {}) => ({
      user: { identity },
      data: { '@request': { client_ip_address }, ...more },
    });
    await post(url, key, INGEST, {
      events: [
        from('ada', '81.2.69.142'),
        from('bob', '2001:db8::17'),
        from('eve', '203.0.113.1'),
        from('mallory', 'nonsense'),
        from('own', '81.2.69.142', { '@location': { country: 'FR', locality: 'Lyon' } }),
      ],
    });
    const { sessions } = await look(url, key);
    const place = (identity: string) => sessions.find(({ user }) => user.identity === identity).location;
    expect(place('ada')).toEqual({ country: 'GB', region: 'England', city: 'London' });
    expect(place('bob')).toEqual({ country: 'DE', region: null, city: null });
    expect([place('eve'), place('mallory')]).toEqual([null, null]);
    expect(place('own')).toEqual({ country: 'FR', region: null, city: 'Lyon' });
    const found = await post(
      url,
      key,
      '{ sessions(filter: { countries: ["gb", "DE"], ipAddresses: ["81.2.69.142", "2001:db8::17"] }) { nodes { user { identity } } } }',
    );
    expect(found.data.sessions.nodes.map(({ user }: any) => user.identity).toSorted()).toEqual(['ada', 'bob']);
  });

  test('a file that is none stops the start with a sentence', async () => {
    const broken = path.join(folder, 'broken.mmdb');
    writeFileSync(broken, 'nothing');
    await expect(openGeography(broken)).rejects.toThrow(GeographyError);
    await expect(openGeography(path.join(folder, 'none'))).rejects.toThrow(/GEOIP_DATABASE cannot be used: ENOENT/);
  });
});
