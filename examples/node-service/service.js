import { createServer } from 'node:http';
import { createTracker } from 'footsteps/client';

const client = createTracker({ url: 'http://127.0.0.1:4000', key: process.env.KEY, version: '1.0.0' });

// curl -X POST 'http://127.0.0.1:8080/orders?user=ada@example.com&price=12.5'
const server = createServer((request, response) => {
  const { searchParams } = new URL(request.url, 'http://localhost');
  client.track('order', {
    user: { identity: searchParams.get('user') },
    value: Number(searchParams.get('price')),
    // Else the server takes the address of this service for the user's.
    data: { '@request': { client_ip_address: request.socket.remoteAddress } },
  });
  response.end('Thank you.\n');
}).listen(Number(process.env.PORT ?? 8080), '127.0.0.1');

server.on('listening', () => console.log(`The shop listens on ${server.address().port}.`));

// Ctrl-C, and a process manager. A second Ctrl-C ends it at once.
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    server.close();
    client.close().then((waiting) => process.exit(waiting === 0 ? 0 : 1));
  });
