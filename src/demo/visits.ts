/** The visits of a made-up shop: each step is an event that the shop would send. */

/** An event in a request: fields of EventInput. */
export interface SentEvent {
  type: string;
  occurredAt?: string;
  source?: string;
  message?: string;
  value?: number;
  tags?: string[];
  version?: string;
  deviceId: string;
  /** Undefined: nobody has signed in on the device. */
  user?: { identity: string; name: string };
  data?: Record<string, unknown>;
}

/** A browser of a person: its random name, and the user agent that the shop would see. */
interface Device {
  readonly id: string;
  readonly agent: string;
}

/** A person, with the devices, address and app version that the shop would see. */
export interface Person {
  readonly identity: string;
  readonly name: string;
  readonly devices: readonly Device[];
  readonly address: string;
  readonly version: string;
}

/** One step of a visit: the event, and how long the person waits after it, in seconds. */
interface Step {
  readonly wait: number;
  readonly event: Pick<SentEvent, 'type' | 'source' | 'message' | 'value' | 'tags' | 'data'>;
}

/** A visit of a person by one device: each event with the wait after it, in seconds. */
export interface Visit {
  readonly deviceId: string;
  readonly steps: readonly { readonly wait: number; readonly event: SentEvent }[];
}

/** A random generator with a seed (mulberry32): the same seed gives the same visits. */
export function createChance(seed: number): {
  below: (limit: number) => number;
  pick: <Item>(of: readonly Item[]) => Item;
} {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { below: (limit) => Math.floor(next() * limit), pick: (of) => of[Math.floor(next() * of.length)]! };
}

type Chance = ReturnType<typeof createChance>;

const FIRST =
  'Ada Ben Chiara Dev Elif Farid Greta Hugo Ines Jonas Kaya Leo Mara Noor Otto Pia Quinn Rosa Sami Tessa Uma Viktor Wanda Xenia Yusuf Zoe'.split(
    ' ',
  );
const LAST =
  'Lovelace Moreau Rossi Patel Demir Haddad Lindqvist Martin Castillo Weber Yilmaz Fischer Novak Rahman Berg Santos Walsh Marino Laine Vogel'.split(
    ' ',
  );
const MAILS = ['example.com', 'example.org', 'mail.example', 'example.net'];
const LAPTOPS = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0',
];
const PHONES = [
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1',
  'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36',
];
const VERSIONS = ['2.4.1', '2.4.1', '2.4.1', '2.4.0', '2.3.7'];
const GOODS = ['trail-boots', 'rain-jacket', 'wool-socks', 'day-pack', 'camp-stove', 'headlamp', 'water-filter'];
const WORDS = ['boots', 'jacket', 'tent', 'socks', 'lamp'];

/** Makes up `count` people: each has a laptop, a phone, or both. */
export function people(count: number, { below, pick }: Chance): Person[] {
  const device = (agents: readonly string[]): Device => ({
    id: `device-${below(2 ** 32)
      .toString(16)
      .padStart(8, '0')}`,
    agent: pick(agents),
  });
  return Array.from({ length: count }, (_, place) => {
    const first = FIRST[place % FIRST.length]!;
    const last = LAST[(place * 7 + Math.floor(place / FIRST.length)) % LAST.length]!;
    return {
      identity: `${first}.${last}@${pick(MAILS)}`.toLowerCase(),
      name: `${first} ${last}`,
      devices: pick([[LAPTOPS], [LAPTOPS], [PHONES], [LAPTOPS, PHONES]]).map(device),
      // Addresses that are reserved for documentation (RFC 5737).
      address: `${pick(['192.0.2', '198.51.100', '203.0.113'])}.${1 + below(250)}`,
      version: pick(VERSIONS),
    };
  });
}

const view = (source: string, wait: number): Step => ({ wait, event: { type: 'page view', source } });

function failure({ pick }: Chance): Step {
  return pick<Step>([
    {
      wait: 6,
      event: {
        type: 'error',
        message: 'Payment failed: the card was declined',
        source: '/checkout/payment',
        tags: ['payment', 'checkout'],
        data: {
          '@error': { type: 'PaymentDeclined', code: 'card_declined', message: 'The card was declined' },
          amount: 129.9,
          currency: 'EUR',
          attempt: 1,
        },
      },
    },
    {
      wait: 4,
      event: {
        type: 'error',
        message: "TypeError: Cannot read properties of undefined (reading 'price')",
        source: 'cart.js:214',
        tags: ['cart'],
        data: {
          '@simple_error': {
            type: 'TypeError',
            message: "Cannot read properties of undefined (reading 'price')",
            stack_trace:
              'at totalOf (cart.js:214:31)\n    at renderCart (cart.js:88:17)\n    at onUpdate (store.js:41:5)',
          },
        },
      },
    },
    {
      wait: 12,
      event: {
        type: 'error',
        message: 'The server answered 503 to GET /api/stock',
        source: 'stock.js:57',
        tags: ['network'],
        data: {
          '@error': { type: 'FetchError', message: '503 Service Unavailable' },
          url: '/api/stock',
          milliseconds: 10_012,
        },
      },
    },
  ]);
}

/** Makes up what a person does: looks at goods, perhaps buys, and sometimes meets an error. */
function stepsOf(chance: Chance): Step[] {
  const { below, pick } = chance;
  const steps: Step[] = [view(pick(['/', '/', '/', '/spring-sale', '/journal/packing-light']), 4 + below(20))];
  for (let looks = 1 + below(5); looks > 0; looks -= 1) {
    if (below(3) === 0) {
      const word = pick(WORDS);
      steps.push({
        wait: 5 + below(25),
        event: { type: 'search', message: word, source: '/search', data: { query: word, results: below(40) } },
      });
    }
    steps.push(view(`/goods/${pick(GOODS)}`, 15 + below(150)));
    if (below(9) === 0) steps.push({ wait: 5, event: { type: '404', source: `/goods/${pick(WORDS)}-old` } });
  }
  if (below(14) === 0) steps.push(failure(chance));
  if (below(5) < 2) {
    const price = 20 + below(200);
    steps.push(
      { wait: 10 + below(20), event: { type: 'usage', source: 'cart.add', value: price } },
      view('/cart', 10 + below(60)),
    );
    if (below(3) > 0) {
      steps.push(view('/checkout', 30 + below(90)));
      if (below(6) === 0) steps.push(failure(chance), view('/checkout', 20 + below(40)));
      if (below(4) > 0) {
        steps.push({
          wait: 5 + below(20),
          event: {
            type: 'order',
            message: `Order of ${price}.00 EUR`,
            source: '/checkout',
            value: price,
            tags: ['revenue'],
            data: { items: 1 + below(3), currency: 'EUR' },
          },
        });
      }
    }
  }
  return steps;
}

/** From which step on a visitor is signed in: most from the first one. */
function signedInFrom(steps: number, { below }: Chance): number {
  const way = below(8);
  if (way === 0) return Infinity;
  return way === 1 ? below(steps) : 0;
}

/** Makes up one visit by one of the person's devices. Some visitors sign in on the way, and some never do. */
export function visitOf({ identity, name, devices, address, version }: Person, chance: Chance): Visit {
  const device = chance.pick(devices);
  const steps = stepsOf(chance);
  const from = signedInFrom(steps.length, chance);
  if (from > 0 && from < steps.length)
    steps.splice(from, 0, { wait: 8, event: { type: 'usage', source: 'account.sign-in' } });
  const events = steps.map(({ wait, event }, at) => ({
    wait,
    event: {
      ...event,
      version,
      deviceId: device.id,
      ...(at >= from && { user: { identity, name } }),
      data: {
        ...event.data,
        '@request': { user_agent: device.agent, client_ip_address: address, path: event.source },
      },
    },
  }));
  return { deviceId: device.id, steps: events };
}

/** What the device sends when the visitor leaves. It ends the session that the device has, whoever's that is. */
export const goodbyeOf = (deviceId: string): SentEvent => ({ type: 'sessionend', deviceId });
