import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/**
 * A TCP load balancer that knows nothing about its servers: each connection goes to the next port in turn that accepts
 * it. A connection that no port accepts is reset.
 */
export async function startBalancer(
  ports: readonly number[],
): Promise<{ url: string; refusals: () => number; close: () => Promise<void> }> {
  const sockets = new Set<Socket>();
  let turn = 0;
  let refusals = 0;

  function forward(client: Socket, tries: number): void {
    const port = ports[(turn += 1) % ports.length]!;
    const server = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    server.setNoDelay(true);
    const refused = (): void => {
      refusals += 1;
      if (tries > 1) forward(client, tries - 1);
      else client.resetAndDestroy();
    };
    server.once('error', refused);
    server.once('connect', () => {
      server.off('error', refused);
      sockets.add(server);
      const end = (): void => {
        // When one side loses its connection, the other side loses it too.
        for (const socket of [client, server]) if (!socket.destroyed) socket.resetAndDestroy();
      };
      for (const socket of [client, server]) {
        socket.on('error', end);
        socket.once('close', () => sockets.delete(socket));
      }
      client.pipe(server);
      server.pipe(client);
    });
  }

  const balancer = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    sockets.add(client);
    // A client that leaves before a server is found needs no server.
    client.on('error', () => client.destroy());
    forward(client, ports.length);
  });
  await new Promise<void>((resolve) => balancer.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`,
    refusals: () => refusals,
    async close() {
      const closed = new Promise<void>((resolve) => balancer.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
