import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { createProject, post, startTestApp, type TestApp } from './app.js';
import { startChromium } from './chromium.js';
import { createTestDatabase, type TestDatabase } from './database.js';

/** A server, a browser, and a shop: the pages of another origin, which load the client from the server as any site would. */
export interface ClientStage {
  db: TestDatabase;
  app: TestApp;
  browser: Browser;
  /** The address of the shop. Every path of it is a page. */
  shop: string;
  /** Makes a project, and a context of the browser whose pages have a client with these options as `client`. */
  visit(options?: Visit): Promise<Visitor>;
  close(): Promise<void>;
}

interface Visit {
  /** Options of the client. `onError` collects the codes in `errors`. */
  options?: Record<string, unknown>;
  /** Where the client finds the server. Default: the stage's server. */
  url?: string;
  /** Which function makes the client. */
  make?: string;
  /** Code that every page runs first. */
  before?: string;
  /** A Content-Security-Policy of the pages. */
  policy?: string;
  /** Code that every page runs when it has a client. */
  script?: string;
}

export interface Visitor {
  readonly key: string;
  readonly context: BrowserContext;
  /** The bodies that the client's pages have sent, as objects, in order. */
  readonly sent: any[];
  open(path?: string): Promise<Page>;
  /** Asks the server with the project's key. */
  ask(query: string, variables?: Record<string, unknown>): Promise<any>;
  /** All events, the oldest first. */
  events(): Promise<StoredEvent[]>;
  /** The codes of the page's errors so far. */
  errors(page: Page): Promise<string[]>;
}

interface StoredEvent {
  type: string;
  source: string | null;
  message: string | null;
  value: number | null;
  occurredAt: string;
  user: { identity: string } | null;
  session: { id: string } | null;
}

const EVENTS = `query ($after: String) { events(first: 100, after: $after) { nodes {
  type source message value occurredAt user { identity } session { id } } pageInfo { hasNextPage endCursor } } }`;

export async function createClientStage(args: readonly string[] = []): Promise<ClientStage> {
  const db = await createTestDatabase();
  const app = await startTestApp(db, { REDIS_URL: '', RATE_LIMIT_PER_ADDRESS: '0' });
  const browser = await startChromium(args);
  const scripts = new Map<string, string>();
  const policies = new Map<string, string>();
  const server = createServer((request, response) => {
    const { visit = '' } = Object.fromEntries(
      (request.headers.cookie ?? '').split('; ').map((pair) => pair.split('=') as [string, string]),
    );
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    if (policies.get(visit)) response.setHeader('Content-Security-Policy', policies.get(visit)!);
    response.end(`<!doctype html><title>Shop ${request.url}</title>${scripts.get(visit) ?? ''}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const shop = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    db,
    app,
    browser,
    shop,
    async visit({ options = {}, url = app.url, make = 'createTracker', before = '', script = '', policy = '' } = {}) {
      const key = await createProject(app.url);
      const name = String(scripts.size);
      const given = JSON.stringify({ url, key, flushEvery: 0.05, useSessions: false, ...options });
      policies.set(name, policy);
      scripts.set(
        name,
        `<script>${before}</script><script src="${app.url}/client.js"></script><script>
          globalThis.errors = [];
          globalThis.client = footsteps.${make}({ ...${given}, onError: ({ code }) => errors.push(code) });
          ${script}
        </script>`,
      );
      const context = await browser.newContext();
      await context.addCookies([{ name: 'visit', value: name, url: shop }]);
      const sent: any[] = [];
      context.on('request', (request) => {
        if (request.method() === 'POST' && request.url().endsWith('/graphql')) sent.push(request.postDataJSON());
      });
      const ask: Visitor['ask'] = async (query, variables) => {
        const { data, errors } = await post(app.url, key, query, variables);
        if (errors) throw new Error(errors[0]!.message);
        return data;
      };
      return {
        key,
        context,
        sent,
        ask,
        async open(path = '/') {
          const page = await context.newPage();
          await page.goto(shop + path);
          return page;
        },
        async events() {
          const found: StoredEvent[] = [];
          let after: string | null = null;
          do {
            const { events }: any = await ask(EVENTS, { after });
            found.push(...events.nodes);
            after = events.pageInfo.hasNextPage ? events.pageInfo.endCursor : null;
          } while (after);
          return found.toReversed();
        },
        errors: (page) => page.evaluate<string[]>('errors'),
      };
    },
    async close() {
      await browser.close();
      server.close();
      await app.close('test');
      await db.drop();
    },
  };
}
