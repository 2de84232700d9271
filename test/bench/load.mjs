// A load: keeps a number of connections busy with requests that were made before, and counts the answers. It uses
// HTTP/1.1 over bare sockets, so that it takes little of the machine's time.
import { createConnection } from 'node:net';

const END_OF_HEAD = Buffer.from('\r\n\r\n');

/** Sends bodies on one connection until `deadline`, each after the answer to the one before. */
function drive({ url, requests, first, step, deadline, most, expect }, count) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = createConnection(Number(port), hostname);
    socket.setNoDelay(true);
    let at = first;
    let sentAt = 0;
    let received = Buffer.alloc(0);
    const send = () => {
      sentAt = performance.now();
      socket.write(requests[at % requests.length]);
      at += step;
    };
    socket.on('connect', send);
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const head = received.indexOf(END_OF_HEAD);
      if (head === -1) return;
      const header = received.toString('latin1', 0, head);
      const length = /content-length: (\d+)/i.exec(header);
      const end = length
        ? head + 4 + Number(length[1])
        : // A chunked answer: its last chunk is empty.
          received.toString('latin1', received.length - 5) === '0\r\n\r\n'
          ? received.length
          : Number.POSITIVE_INFINITY;
      if (received.length < end) return;
      const body = received.toString('utf8', head + 4, end);
      received = received.subarray(end);
      if (!header.startsWith('HTTP/1.1 200') || !body.includes(expect)) {
        socket.destroy();
        reject(new Error(`Not what was expected (${expect}): ${header.slice(0, 60)} ${body.slice(0, 300)}`));
        return;
      }
      count(performance.now() - sentAt);
      if (at < most && performance.now() < deadline) send();
      else socket.end(() => resolve());
    });
  });
}

const requestOf = ({ url, path = '/graphql', key }, body) =>
  Buffer.from(
    `POST ${path} HTTP/1.1\r\nHost: ${new URL(url).hostname}\r\nContent-Type: application/json\r\nAccept: application/json\r\n` +
      `${key ? `Authorization: Bearer ${key}\r\n` : ''}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

process.on('message', async (options) => {
  const { url, bodies, connections, seconds, expect } = options;
  const requests = bodies.map((body) => requestOf(options, body));
  const latencies = [];
  const start = performance.now();
  // Runs for a time, or until each body has been sent once.
  const deadline = seconds === undefined ? Number.POSITIVE_INFINITY : start + seconds * 1_000;
  const most = seconds === undefined ? bodies.length : Number.POSITIVE_INFINITY;
  await Promise.all(
    Array.from({ length: connections }, (_, first) =>
      drive({ url, requests, first, step: connections, deadline, most, expect }, (latency) => latencies.push(latency)),
    ),
  );
  const elapsed = (performance.now() - start) / 1_000;
  latencies.sort((a, b) => a - b);
  process.send({
    requests: latencies.length,
    seconds: elapsed,
    perSecond: latencies.length / elapsed,
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
  });
});
process.send('ready');
