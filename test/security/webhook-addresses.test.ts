import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createOutbound } from '../../src/adapters/outbound.js';
import { mayConnectTo } from '../../src/domain/outbound-address.js';
import { explain } from '../../src/services/webhooks/run.js';
import { record } from '../support/ledger.js';
import { startNameServer, type NameServer } from '../support/name-server.js';

/** Webhooks reach no address but public ones, however it is written, and whatever a name server says. */

/** Where a name leads. Each is forbidden. */
const NAMES: Record<string, readonly string[]> = {
  'private.test': ['10.0.0.1'],
  'loopback.test': ['127.0.0.1'],
  'loopback6.test': ['::1'],
  'mapped.test': ['::ffff:7f00:1'],
  'nat64.test': ['64:ff9b::7f00:1'],
  'metadata.test': ['169.254.169.254'],
  'mixed.test': ['8.8.8.8', '127.0.0.1'],
  'mixed6.test': ['2606:4700::1111', '::1'],
  'mixed-families.test': ['8.8.8.8', '::1'],
  localhost: ['127.0.0.1'],
  'a.localhost': ['127.0.0.1'],
};

/** Hosts as they stand in a URL. */
const FORBIDDEN = [
  // Loopback, in every way in which it can be written.
  '127.0.0.1 127.1 127.0.1 127.255.255.254 0x7f.1 0x7f000001 2130706433 017700000001 0177.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1',
  '%31%32%37.0.0.1 [::1] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:0001]',
  '[::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001::7f00:1]',
  // This network.
  '0.0.0.0 0 0.1.2.3 [::] [::ffff:0.0.0.0]',
  // Private, shared, unique local.
  '10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 100.127.255.255',
  '[::ffff:10.0.0.1] [64:ff9b::a00:1] [2002:a00:1::1] [fc00::1] [fdff:ffff::1]',
  // Link-local and site-local, metadata of clouds.
  '169.254.0.1 169.254.169.254 0xa9fea9fe [::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe] [fe80::1] [febf::1] [fec0::1]',
  '100.100.100.200 168.63.129.16 192.0.0.192 [fd00:ec2::254] [fd20:ce::254]',
  // Special purposes, documentation, benchmarks, multicast, reserved, broadcast, discard, segment routing.
  '192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1',
  '255.255.255.255 [ff02::1] [ff0e::1] [2001:db8::1] [3fff::1] [100::1] [5f00::1] [4000::1]',
  ...Object.keys(NAMES),
  'loopback.test.',
].flatMap((line) => line.split(' '));

/** Counts everybody who connects to this machine. */
const listener = createServer((socket) => {
  connections += 1;
  socket.destroy();
});
let connections = 0;
let port = 0;
let names: NameServer;
const message = { headers: {}, body: Buffer.from('{}') };
const signal = (): AbortSignal => new AbortController().signal;

beforeAll(async () => {
  names = await startNameServer((name) => NAMES[name] ?? []);
  listener.listen(0);
  await once(listener, 'listening');
  ({ port } = listener.address() as AddressInfo);
});
afterAll(() => {
  names.close();
  listener.close();
});

test('no form of a forbidden address is connected to', async () => {
  const outbound = createOutbound({ reach: 'public', nameServers: [names.address] });
  const answers = await Promise.all(
    FORBIDDEN.map(async (host) => ({
      host,
      answer: await outbound.post({ ...message, url: `https://${host}:${port}/` }, signal()),
    })),
  );
  const others = answers.filter(
    ({ answer }) => answer.kind !== 'FAILED' || !answer.why.startsWith('The host has no public address'),
  );
  expect(others).toEqual([]);
  expect(connections).toBe(0);
  record('forms of forbidden addresses, refused', FORBIDDEN.length);
});

test('a name that leads nowhere and one that leads to a forbidden address read alike', async () => {
  for (const [reach, forbidden] of [
    ['public', 'private.test'],
    ['public', 'metadata.test'],
    ['private', 'metadata.test'],
  ] as const) {
    const outbound = createOutbound({ reach, nameServers: [names.address] });
    const [known, unknown] = await Promise.all(
      [forbidden, 'nobody.test'].map((host) => outbound.post({ ...message, url: `https://${host}/` }, signal())),
    );
    // The detail is for the log alone.
    expect({ ...known, detail: null }).toEqual({ ...unknown, detail: null });
    expect(explain(known!)).not.toContain((known as { detail: string }).detail);
  }
});

test('the listener of this test can be reached, if the operator allows it', async () => {
  const outbound = createOutbound({ reach: 'private', nameServers: [names.address] });
  for (const host of ['127.1', '[::ffff:7f00:1]', 'loopback.test']) {
    const before = connections;
    const answer = await outbound.post({ ...message, url: `http://${host}:${port}/` }, signal());
    expect(answer).toEqual({ kind: 'FAILED', why: 'The receiver closed the connection without an answer.' });
    expect(connections).toBeGreaterThan(before);
  }
});

test('an own network holds no metadata service and no address without a receiver', () => {
  const never = [
    '169.254.169.254',
    '100.100.100.200',
    '168.63.129.16',
    'fd00:ec2::254',
    'fe80::1',
    '0.0.0.0',
    '::',
    'ff02::1',
  ];
  expect(never.filter((address) => mayConnectTo(address, 'private'))).toEqual([]);
  const own = ['127.0.0.1', '10.1.2.3', '192.168.1.1', '100.64.0.1', '::1', 'fd12::1', '64:ff9b::a00:1'];
  expect(own.filter((address) => !mayConnectTo(address, 'private'))).toEqual([]);
  const open = [
    '8.8.8.8',
    '1.1.1.1',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700::1111',
    '2a00:1450::1',
    '::ffff:8.8.8.8',
    '64:ff9b::808:808',
  ];
  expect(open.filter((address) => !mayConnectTo(address, 'public'))).toEqual([]);
  expect(
    ['', 'example.com', '127.0.0.1 ', 'fe80::1%eth0', '2606:4700::1111%1'].filter((text) =>
      mayConnectTo(text, 'private'),
    ),
  ).toEqual([]);
});

test('a name is asked for once: the address that is checked is the one that is used', async () => {
  // Asked again at connecting, the name would lead to a metadata service.
  let questions = 0;
  const turning = await startNameServer(() => ((questions += 1) <= 2 ? ['127.0.0.1'] : ['169.254.169.254']));
  const outbound = createOutbound({ reach: 'private', nameServers: [turning.address] });
  const before = connections;
  await outbound.post({ ...message, url: `http://turning.test:${port}/` }, signal());
  // One question for IPv4 and one for IPv6.
  expect(turning.asked.get('turning.test')).toBe(2);
  expect(connections).toBe(before + 1);
  turning.close();
});

test('other protocols, credentials and unencrypted messages are refused', () => {
  const outbound = createOutbound({ reach: 'public' });
  const wrong = [
    'http://example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'gopher://example.com/',
    'javascript:1',
    'data:,x',
    '',
    'example.com',
    'https://',
    'https://a:b@example.com/',
    'https://token@example.com/',
  ];
  expect(wrong.filter((url) => outbound.refusal(url) === null)).toEqual([]);
  expect(outbound.refusal('https://example.com/hooks?a=b')).toBeNull();
  expect(createOutbound({ reach: 'private' }).refusal('http://receiver:8080/')).toBeNull();
});
