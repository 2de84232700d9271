import { BlockList } from 'node:net';

/** Makes a database file in MaxMind's format (version 2.0, IPv6 tree, records of 24 bits) from ranges and their data. */

type Value = string | number | readonly Value[] | { readonly [key: string]: Value };

function encode(value: Value): Buffer {
  const head = (type: number, size: number): Buffer => {
    const sizes = size < 29 ? [size] : [29, size - 29];
    return type <= 7
      ? Buffer.from([(type << 5) | sizes[0]!, ...sizes.slice(1)])
      : Buffer.from([sizes[0]!, type - 7, ...sizes.slice(1)]);
  };
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return Buffer.concat([head(2, text.length), text]);
  }
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return Buffer.concat([head(6, 4), bytes]);
  }
  if (Array.isArray(value)) return Buffer.concat([head(11, value.length), ...value.map(encode)]);
  const entries = Object.entries(value);
  return Buffer.concat([head(7, entries.length), ...entries.flatMap(([key, inner]) => [encode(key), encode(inner)])]);
}

/** The bits of an address, IPv4 within ::/96. */
function bitsOf(address: string): number[] {
  if (address.includes('.')) {
    return [
      ...Array<number>(96).fill(0),
      ...address.split('.').flatMap((byte) => [...Number(byte).toString(2).padStart(8, '0')].map(Number)),
    ];
  }
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill('0'), ...groups(tail)];
  return all.flatMap((group) => [...Number.parseInt(group, 16).toString(2).padStart(16, '0')].map(Number));
}

type Child = number | { data: number } | null;

/** `places`: data by range, e.g. "81.2.69.0/24". Ranges must not overlap. */
export function createMmdb(places: Readonly<Record<string, Value>>): Buffer {
  const nodes: [Child, Child][] = [[null, null]];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [range, value] of Object.entries(places)) {
    const [address, length] = range.split('/');
    // Throws if the text is not a range.
    new BlockList().addSubnet(address!, Number(length), address!.includes(':') ? 'ipv6' : 'ipv4');
    const depth = Number(length) + (address!.includes(':') ? 0 : 96);
    let at = 0;
    for (const [level, bit] of bitsOf(address!).slice(0, depth).entries()) {
      if (level === depth - 1) {
        nodes[at]![bit as 0 | 1] = { data: offset };
        break;
      }
      const next = nodes[at]![bit as 0 | 1] ?? nodes.push([null, null]) - 1;
      nodes[at]![bit as 0 | 1] = next;
      at = next as number;
    }
    const encoded = encode(value);
    data.push(encoded);
    offset += encoded.length;
  }
  const tree = Buffer.alloc(nodes.length * 6);
  for (const [at, children] of nodes.entries()) {
    for (const [side, child] of children.entries()) {
      const record = child === null ? nodes.length : typeof child === 'number' ? child : nodes.length + 16 + child.data;
      tree.writeUIntBE(record, at * 6 + side * 3, 3);
    }
  }
  const metadata = encode({
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: 1_790_000_000,
    database_type: 'Test-City',
    description: { en: 'test' },
    ip_version: 6,
    languages: ['en'],
    node_count: nodes.length,
    record_size: 24,
  });
  return Buffer.concat([
    tree,
    Buffer.alloc(16),
    ...data,
    Buffer.from([0xab, 0xcd, 0xef]),
    Buffer.from('MaxMind.com'),
    metadata,
  ]);
}
