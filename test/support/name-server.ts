import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIP, isIPv4 } from 'node:net';

export interface NameServer {
  /** As `address:port`. */
  readonly address: string;
  /** How often each name was asked for. */
  readonly asked: Map<string, number>;
  close(): void;
}

const bytesOf = (address: string): Buffer => {
  if (!isIP(address))
    return Buffer.concat([
      ...address.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
      Buffer.from([0]),
    ]);
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [first, last] = [groups(head), groups(tail ?? '')];
  const all =
    tail === undefined ? first : [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last];
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]));
};

/**
 * A real name server (UDP). `addressesOf` gives the addresses of a name each time that it is asked for; null: it does not
 * answer. A text that is no address is another name, of which the name is an alias (CNAME).
 */
export async function startNameServer(addressesOf: (name: string) => readonly string[] | null): Promise<NameServer> {
  const socket = createSocket('udp4');
  const asked = new Map<string, number>();
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = [];
    let at = 12;
    while (query[at]! > 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
      at += 1 + query[at]!;
    }
    const name = labels.join('.').toLowerCase();
    const type = query.readUInt16BE(at + 1);
    asked.set(name, (asked.get(name) ?? 0) + 1);
    const addresses = addressesOf(name);
    if (!addresses) return;
    const wanted = addresses.filter((one) => !isIP(one) || (type === 1 ? isIPv4(one) : type === 28 && !isIPv4(one)));
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(wanted.length, 6);
    head.writeUInt16BE(0, 8);
    head.writeUInt16BE(0, 10);
    const answers = wanted.map((one) => {
      const bytes = bytesOf(one);
      const record = Buffer.from([0xc0, 12, 0, isIP(one) ? type : 5, 0, 1, 0, 0, 0, 0, 0, bytes.length]);
      return Buffer.concat([record, bytes]);
    });
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...answers]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  return { address: `127.0.0.1:${port}`, asked, close: () => socket.close() };
}
