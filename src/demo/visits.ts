/** What people of a made-up shop do: visits, step by step, as the events that the shop would send. */

/** An event as it is sent: the fields of EventInput. */
export interface SentEvent {
  type: string;
  occurredAt?: string;
  source?: string;
  message?: string;
  value?: number;
  tags?: string[];
  version?: string;
  user: { identity: string; name: string };
  data?: Record<string, unknown>;
}

/** Somebody, with what shows of their machine. */
export interface Person {
  readonly identity: string;
  readonly name: string;
  readonly agent: string;
  readonly address: string;
  readonly version: string;
}

/** One step of a visit: what is sent, and for how long it is read. Seconds. */
export interface Step {
  readonly wait: number;
  readonly event: Pick<SentEvent, 'type' | 'source' | 'message' | 'value' | 'tags' | 'data'>;
}

/** A small generator (mulberry32), so that the story is the same each time it is told. */
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
const AGENTS = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1',
  'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36',
];
const VERSIONS = ['2.4.1', '2.4.1', '2.4.1', '2.4.0', '2.3.7'];
const GOODS = ['trail-boots', 'rain-jacket', 'wool-socks', 'day-pack', 'camp-stove', 'headlamp', 'water-filter'];
const WORDS = ['boots', 'jacket', 'tent', 'socks', 'lamp'];

/** A town's worth of people. */
export function people(count: number, { below, pick }: Chance): Person[] {
  return Array.from({ length: count }, (_, place) => {
    const first = FIRST[place % FIRST.length]!;
    const last = LAST[(place * 7 + Math.floor(place / FIRST.length)) % LAST.length]!;
    return {
      identity: `${first}.${last}@${pick(MAILS)}`.toLowerCase(),
      name: `${first} ${last}`,
      agent: pick(AGENTS),
      // Addresses that are kept for examples (RFC 5737).
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

/** What one person does on one visit: looks around, perhaps buys, and now and then something breaks. */
export function visit(chance: Chance): Step[] {
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

/** A step as that person's machine sends it. */
export const eventOf = ({ event }: Step, { identity, name, agent, address, version }: Person): SentEvent => ({
  ...event,
  version,
  user: { identity, name },
  data: { ...event.data, '@request': { user_agent: agent, client_ip_address: address, path: event.source } },
});
