import type { IncomingMessage } from 'node:http';
import proxyAddr from 'proxy-addr';
import type { Sender } from '../../domain/sender.js';

export type SenderOf = (request: IncomingMessage) => Sender;

/** An IPv4 address without the prefix that an IPv6 socket gives it. */
const plain = (address: string): string => (address.startsWith('::ffff:') ? address.slice(7) : address);

/**
 * Returns a function that finds the address and the user agent of a request. `trustedProxies` are addresses, ranges, or the
 * names loopback, linklocal and uniquelocal. The function reads X-Forwarded-For from the right, only as far as trusted proxies
 * wrote it. It ignores the header of any other sender.
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
