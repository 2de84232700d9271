import { BlockList, isIPv4, isIPv6 } from 'node:net';

/**
 * Which addresses a server may be made to connect to by its callers. PUBLIC: addresses of the public Internet alone.
 * PRIVATE: the operator's own network too.
 */
export type OutboundReach = 'public' | 'private';

type Subnet = readonly [network: string, prefix: number];

const listOf = (subnets: readonly Subnet[]): BlockList => {
  const list = new BlockList();
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, isIPv4(network) ? 'ipv4' : 'ipv6');
  return list;
};

/**
 * Own networks: loopback, RFC 1918, shared space of carriers (RFC 6598, used as private space by many clouds), and unique
 * local addresses (RFC 4193).
 */
const OWN = listOf([
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['::1', 128],
  ['fc00::', 7],
]);

/**
 * Never: these addresses name no receiver, or give away secrets of the machine. The metadata services of clouds are here
 * even where their address is of an own network or a public one.
 */
const NEVER = listOf([
  // Metadata: Alibaba, Azure, Oracle (in 192.0.0.0/24), AWS and Google over IPv6. The others are link-local.
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['fd00:ec2::254', 128],
  ['fd20:ce::254', 128],
  // This network, link-local, special purposes, documentation, 6to4 relays, benchmarks, multicast, reserved, broadcast.
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  // Special purposes with Teredo and ORCHID, documentation, 6to4.
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]);

/** The only part of IPv6 that is given out as public addresses. Everything else is refused, whatever it may become. */
const GLOBAL = listOf([['2000::', 3]]);

/** Ranges whose last 32 bits are an IPv4 address: IPv4-mapped, and the well-known prefix of NAT64 (RFC 6052). */
const CARRIES_IPV4 = listOf([
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
]);

/** The last 32 bits of an IPv6 address, as an IPv4 address. */
function lastBits(address: string): string {
  const dotted = /[\d.]+$/.exec(address)?.[0] ?? '';
  if (isIPv4(dotted)) return dotted;
  const [high = '0', low = '0'] = address.replace('::', ':0:0:').split(':').slice(-2);
  const bits = (Number.parseInt(high || '0', 16) << 16) | Number.parseInt(low || '0', 16);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.');
}

/**
 * Whether the server may connect to an IP address (an address as it is used, not a name). A text that is no address, or one
 * with a zone, is refused.
 */
export function mayConnectTo(address: string, reach: OutboundReach): boolean {
  if (isIPv4(address)) {
    return !NEVER.check(address, 'ipv4') && (reach === 'private' || !OWN.check(address, 'ipv4'));
  }
  if (!isIPv6(address) || address.includes('%')) return false;
  if (CARRIES_IPV4.check(address, 'ipv6')) return mayConnectTo(lastBits(address), reach);
  if (NEVER.check(address, 'ipv6')) return false;
  return GLOBAL.check(address, 'ipv6') || (reach === 'private' && OWN.check(address, 'ipv6'));
}
