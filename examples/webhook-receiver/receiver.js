import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const verifier = new Webhook(process.env.WEBHOOK_SECRET); // whsec_…
const taken = new Set(); // In your database, written in one transaction with what you do.

/** What your program does with a change. */
async function take({ kind, session }) {
  console.log(kind, session.id, session.user?.identity ?? 'nobody');
}

/** Resolves with the status of the answer. */
async function receive(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > 32_000_000) return 413;
    parts.push(part);
  }
  const body = Buffer.concat(parts).toString();
  try {
    verifier.verify(body, request.headers);
  } catch {
    return 401;
  }
  const { type, data } = JSON.parse(body);
  const id = request.headers['webhook-id'];
  if (type === 'changes' && !taken.has(id)) {
    for (const result of data) await take(result.data.changes);
    taken.add(id);
  }
  return 204;
}

createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status).end(),
    (error) => {
      // The message comes again.
      console.error(error);
      response.writeHead(500).end();
    },
  );
}).listen(process.env.PORT ?? 8080);
