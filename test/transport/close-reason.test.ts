import { once } from 'node:events';
import { expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, startTestApp } from '../support/app.js';
import { createTestDatabase } from '../support/database.js';
import { closeReason } from '../../src/transport/websocket/close-reason.js';

test('a reason fits into its frame, and ends with a whole character', () => {
  for (const letter of ['a', 'é', '€', '😀']) {
    for (const before of ['', 'a', 'ab', 'abc']) {
      const reason = closeReason(before + letter.repeat(200));
      expect(Buffer.byteLength(reason)).toBeGreaterThan(119);
      expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(123);
      expect(reason).toBe(before + letter.repeat((reason.length - before.length) / letter.length));
    }
  }
  expect(closeReason('short')).toBe('short');
});

test('a socket is closed with its own code, whatever letters the reason has', async () => {
  const db = await createTestDatabase();
  const app = await startTestApp(db);
  const open = async (key: string, headers: Record<string, string>) => {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', { headers });
    const closed = once(socket, 'close').then(([code]) => code as number);
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
    return { socket, closed };
  };
  const key = await createProject(app.url);
  const { socket, closed } = await open(key, {});
  await once(socket, 'message');
  const payload = { query: 'subscription { userPresence { kind } }' };
  for (let time = 0; time < 2; time += 1)
    socket.send(JSON.stringify({ type: 'subscribe', id: '€'.repeat(128), payload }));
  expect(await closed).toBe(4409);

  const closedTo = await createProject(app.url, { allowedOrigins: ['https://shop.example'] });
  const other = await open(closedTo, { Origin: `https://${'é'.repeat(190)}` });
  expect(await other.closed).toBe(4401);
  expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  await app.close('test');
  await db.drop();
});
