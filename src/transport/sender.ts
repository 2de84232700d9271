import type { IncomingMessage } from 'node:http';
import proxyAddr from 'proxy-addr';
import type { Sender } from '../domain/sender.js';

export type SenderOf = (request: IncomingMessage) => Sender;

/** A IPv4 address as itself where the socket speaks IPv6. */
const plain = (address: string): string => (address.startsWith('::ffff:') ? address.slice(7) : address);

/**
 * Finds out where requests come from. `trustedProxies` are addresses, ranges, or the names loopback, linklocal
 * and uniquelocal: X-Forwarded-For is read from the right, and only as far as those wrote it. Nobody else's
 * header counts.
 */
export function createSenderOf(trustedProxies: readonly string[]): SenderOf {
  const trusts = proxyAddr.compile([...trustedProxies]);
  return (request) => {
    const address = request.socket.remoteAddress === undefined ? null : proxyAddr(request, trusts);
    return {
      ipAddress: address === null ? null : plain(address).slice(0, 100),
      userAgent: request.headers['user-agent'] ?? null,
    };
  };
}
