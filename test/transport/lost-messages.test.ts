import { createClient } from 'graphql-sse';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.js';
import type { Statement } from '../../src/store/database.js';
import { collect, connect, createProject, eventually, listen, post, type Listening } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';

/** A message whose reads fail is not there for anybody. So its subscriptions end, and clients come back with `after`. */

let db: TestDatabase;
let doors: Doors;
let key: string;
/** What the database does before it reads the devices of a message. */
let beforeDevices: () => Promise<void>;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  const { database } = doors.services;
  const query = database.query.bind(database);
  database.query = async <Row>(statement: Statement): Promise<Row[]> => {
    if (statement.name === 'presence.devices') await beforeDevices();
    return query<Row>(statement);
  };
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});
beforeEach(async () => {
  beforeDevices = async () => {};
  key = await createProject(doors.url);
});

function failOnce(): void {
  beforeDevices = async () => {
    beforeDevices = async () => {};
    throw new AppError('UNAVAILABLE', 'The database does not answer.', { retryAfter: 1 });
  };
}

const PRESENCE = `subscription ($after: String) {
  userPresence(after: $after) { kind cursor users { identity devices { key } } }
}`;
const beat = async (identity: string): Promise<void> => {
  const { errors } = await post(
    doors.url,
    key,
    'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
    { events: [{ user: { identity } }] },
  );
  expect(errors).toBeUndefined();
};

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function overSse(singleConnection: boolean) {
  return (variables: Record<string, unknown>): Listening => {
    const client = createClient({
      url: `${doors.url}/graphql`,
      singleConnection,
      headers: { Authorization: `Bearer ${key}` },
      retryAttempts: 0,
    });
    ends.push(() => client.dispose());
    return collect((sink) => client.subscribe({ query: PRESENCE, variables }, sink));
  };
}
const transports: Record<string, (variables: Record<string, unknown>) => Listening> = {
  'a WebSocket'(variables) {
    const client = connect(doors.url, key);
    ends.push(() => client.dispose());
    return listen(client, PRESENCE, variables);
  },
  'an event stream': overSse(false),
  'single connection mode': overSse(true),
};

describe.each(Object.entries(transports))('over %s', (_name, subscribe) => {
  test('a DIFF that cannot be made ends the subscription; who comes back with `after` gets it', async () => {
    const watching = subscribe({});
    const [snapshot] = await watching.until((heard) => heard.length === 1);
    failOnce();
    await beat('ada');
    await watching.ended;
    expect(watching.errors).toMatchObject([{ extensions: { code: 'UNAVAILABLE' } }]);
    const back = subscribe({ after: snapshot.cursor });
    const [diff] = await back.until((heard) => heard.length === 1);
    expect(diff).toMatchObject({ kind: 'DIFF', users: [{ identity: 'ada', devices: [{ key: null }] }] });
    expect(watching.heard).toHaveLength(1);
    back.stop();
  });

  test('a SNAPSHOT that cannot be made is not kept for the next', async () => {
    await beat('ada');
    failOnce();
    const first = subscribe({});
    await first.ended;
    expect(first.errors).toMatchObject([{ extensions: { code: 'UNAVAILABLE' } }]);
    const next = subscribe({});
    const [snapshot] = await next.until((heard) => heard.length === 1);
    expect(snapshot).toMatchObject({ kind: 'SNAPSHOT', users: [{ identity: 'ada' }] });
    next.stop();
  });
});

test('a message that is being made is not sent after the scopes are gone', async () => {
  const tokenOf = async (scope: string): Promise<string> =>
    (await post(doors.url, key, `mutation { createAccessToken(scopes: [${scope}]) { token } }`)).data.createAccessToken
      .token;
  const [may, mayNot] = [await tokenOf('PRESENCE'), await tokenOf('INGEST')];
  let socket: WebSocket;
  const client = connect(doors.url, may, { connected: (opened) => void (socket = opened as WebSocket) });
  ends.push(() => client.dispose());
  const watching = listen(client, PRESENCE);
  await watching.until((heard) => heard.length === 1);
  let goOn!: () => void;
  const reading = new Promise<void>((isReading) => {
    beforeDevices = () =>
      new Promise((resolve) => {
        goOn = resolve;
        isReading();
      });
  });
  await beat('ada');
  await reading;
  let pongs = 0;
  socket!.addEventListener('message', ({ data }) => {
    if (String(data).includes('"pong"')) pongs += 1;
  });
  socket!.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${mayNot}` } }));
  await eventually(() => pongs > 0);
  goOn();
  await watching.ended;
  expect(watching.errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
  expect(watching.heard).toHaveLength(1);
});
