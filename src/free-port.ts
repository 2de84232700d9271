import { createServer } from 'node:net';

/**
 * Checks that a server can listen on this host and port; port 0 is always free. Rejects with the error of listen(), so that a
 * start that cannot succeed ends before it makes a database.
 */
export async function expectFreePort(host: string, port: number): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}
