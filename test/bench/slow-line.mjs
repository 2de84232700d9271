// A line to a server that brings back so many bytes a second for each connection, and reads no faster.
import { connect, createServer } from 'node:net';

/** How often the line takes what it may. Milliseconds. */
const TICK = 10;

process.on('message', ({ target, rate }) => {
  const server = createServer((here) => {
    const there = connect(target, '127.0.0.1');
    /** Bytes that may be taken; below zero what was taken too early. */
    let due = 0;
    there.on('data', (data) => {
      due -= data.length;
      here.write(data);
      if (due <= 0) there.pause();
    });
    const tick = setInterval(() => {
      due = Math.min(due + (rate * TICK) / 1_000, (rate * TICK) / 100);
      if (due > 0) there.resume();
    }, TICK);
    here.pipe(there);
    for (const socket of [here, there]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        clearInterval(tick);
        here.destroy();
        there.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
});
process.send('ready');
