import { createServer } from 'node:net';

/**
 * Sees that a server can listen there, without being one; port 0 always can. Rejects with the error of listen(), so
 * that a start which cannot succeed ends before it makes a database.
 */
export async function expectFreePort(host: string, port: number): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}
