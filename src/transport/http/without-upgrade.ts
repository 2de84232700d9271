import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Whether a request that asks for another protocol asks for a WebSocket. */
export const asksForWebSocket = ({ headers }: IncomingMessage): boolean =>
  headers.upgrade?.toLowerCase() === 'websocket';

/** Headers of the connection that ask for another protocol. What else `Connection` names stays. */
const ASKING = new Set(['upgrade', 'http2-settings']);

/** The head of the request as it came, but for what asks for another protocol. */
function headOf({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name, value] = [rawHeaders[at]!, rawHeaders[at + 1]!];
    const isConnection = name.toLowerCase() === 'connection';
    const kept = value.split(',').filter((option) => !ASKING.has(option.trim().toLowerCase()));
    if (isConnection && kept.length > 0) lines.push(`${name}: ${kept.join(',')}`);
    else if (!isConnection && !ASKING.has(name.toLowerCase())) lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/**
 * Answers a request that asks for a protocol which the server does not speak as if it had not asked (RFC 9110, 7.8). Java's
 * HttpClient and `curl --http2` send `Upgrade: h2c` with requests to an http:// address. Node gives such a request to the
 * listeners of `upgrade`, without its body. So it is read once more, without the headers that ask: the server gets its socket
 * as a new connection, which it may have had before. `head`: the bytes after the request's head that have come already.
 */
export function answerWithoutUpgrade(http: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  socket.unshift(Buffer.concat([Buffer.from(headOf(request), 'latin1'), head]));
  http.emit('connection', socket);
}
