// The comparator of rows 4, 5 and 9: a WebSocket server that makes each message once and sends it to all.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const http = createServer();
const sockets = new WebSocketServer({ server: http });
sockets.on('connection', (socket) => socket.on('message', () => {}));

const at = () => performance.timeOrigin + performance.now();
let sent = 0;

function publish() {
  sent += 1;
  const user = { identity: `user-${sent}@example.com`, status: 'ONLINE', onlineSessions: 1 };
  const message = JSON.stringify({ id: '1', type: 'next', payload: { data: { userPresence: { kind: 'DIFF', users: [user] } } } });
  for (const socket of sockets.clients) socket.send(message);
}

process.on('message', async ({ messages }) => {
  const start = at();
  for (let message = 0; message < messages; message += 1) {
    publish();
    await new Promise((resolve) => setImmediate(resolve));
  }
  process.send({ start });
});
http.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${http.address().port}` }));
