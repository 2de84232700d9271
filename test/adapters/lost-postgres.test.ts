import { connect, createServer, type AddressInfo } from 'node:net';
import { expect, inject, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';

/** What a server says when its Postgres has been killed. */
function farewell(): Buffer {
  const fields = Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0');
  const head = Buffer.alloc(5, 'E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

test('a connection that is lost in the moment it is handed out is UNAVAILABLE, and ends nothing else', async () => {
  const { hostname, port } = new URL(inject('postgresUrl'));
  // The farewell comes with the very bytes that say the connection is ready.
  const server = createServer((client) => {
    const postgres = connect(Number(port), hostname);
    postgres.on('data', (data: Buffer) => {
      if (data.subarray(-READY.length).equals(READY)) client.end(Buffer.concat([data, farewell()]));
      else client.write(data);
    });
    client.on('data', (data: Buffer) => postgres.write(data));
    for (const socket of [client, postgres]) socket.on('error', () => {});
    client.on('close', () => postgres.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(inject('postgresUrl'));
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const database = createDatabase({ url: url.href, poolSize: 2, observe: () => {} });
  try {
    for (let round = 0; round < 5; round += 1) {
      await expect(database.transaction((tx) => tx.query({ name: 'test', text: 'SELECT 1' }))).rejects.toMatchObject({
        code: 'UNAVAILABLE',
      });
      await expect(database.query({ name: 'test', text: 'SELECT 1' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }
  } finally {
    await database.close();
    await new Promise((resolve) => server.close(resolve));
  }
});
