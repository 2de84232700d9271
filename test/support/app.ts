import { randomBytes } from 'node:crypto';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { print } from 'graphql';
import { createClient, type Client } from 'graphql-ws';
import WebSocket from 'ws';
import { inject } from 'vitest';
import { startApp, type App } from '../../src/app.js';
import { readConfig } from '../../src/config.js';
import type { Observation } from '../../src/observation.js';
import { CreateProjectDocument, type ProjectSettingsInput } from '../generated/graphql.js';
import type { TestDatabase } from './database.js';
import { redisUrl } from './redis.js';

export const OPERATOR_KEY = 'operator-key-of-the-tests';

export interface TestApp extends App {
  readonly observations: Observation[];
}

/** The databases that have a server already. One server on a database needs no Redis; two do. */
const served = new WeakSet<TestDatabase>();

/** Starts a whole server in this process, on its own port, with the test's database and, unless `env` says otherwise, Redis. */
export async function startTestApp(db: TestDatabase, env: Record<string, string> = {}): Promise<TestApp> {
  const observations: Observation[] = [];
  const config = readConfig({
    PORT: '0',
    DATABASE_URL: db.url,
    REDIS_URL: served.has(db) ? redisUrl() : inject('redisUrl'),
    OPERATOR_KEY,
    CLOSER_INTERVAL: '50ms',
    ...env,
  });
  const app = await startApp(config, (observation) => {
    observations.push(observation);
    if (process.env['SHOW'] && 'error' in observation) console.error(observation);
  });
  served.add(db);
  return Object.assign(app, { observations });
}

export interface Answer {
  status: number;
  headers: Headers;
  data: any;
  errors: { message: string; path?: (string | number)[]; extensions: Record<string, unknown> }[] | undefined;
  text: string;
}

/** Sends one operation over HTTP. */
export async function post(
  url: string,
  key: string | null,
  query: string,
  variables?: Record<string, unknown>,
  init: RequestInit = {},
): Promise<Answer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    body: JSON.stringify({ query, ...(variables ? { variables } : {}) }),
    ...init,
    headers: {
      'Content-Type': 'application/json',
      ...(key ? { Authorization: `Bearer ${key}` } : {}),
      ...init.headers,
    },
  });
  const text = await response.text();
  let body: { data?: unknown; errors?: Answer['errors'] } = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // The test itself checks a body that is not JSON.
  }
  return { status: response.status, headers: response.headers, data: body.data, errors: body.errors, text };
}

/** Sends one operation with the types that codegen made for it. Throws its first error. */
export async function request<Data, Variables extends Record<string, unknown>>(
  url: string,
  key: string,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const { data, errors } = await post(url, key, print(document), variables);
  if (errors) throw new Error(`${errors[0]!.message} ${JSON.stringify(errors[0]!.extensions)}`);
  return data as Data;
}

/** Makes a project on that server. Returns a key with every scope. */
export async function createProject(url: string, settings: ProjectSettingsInput = {}): Promise<string> {
  const name = `Project ${randomBytes(4).toString('hex')}`;
  const { createProject: made } = await request(url, OPERATOR_KEY, CreateProjectDocument, { name, settings });
  return made.key;
}

/** The messages of a subscription so far, and a way to wait for more. */
export interface Listening {
  readonly heard: any[];
  readonly errors: unknown[];
  /** Resolves with `heard` when `when(heard)` is true. */
  until(when: (heard: any[]) => boolean, patience?: number): Promise<any[]>;
  /** Resolves when the subscription has ended. */
  readonly ended: Promise<void>;
  stop(): void;
}

export function collect(
  subscribe: (sink: {
    next: (value: any) => void;
    error: (error: unknown) => void;
    complete: () => void;
  }) => () => void,
): Listening {
  const heard: any[] = [];
  const errors: unknown[] = [];
  const waiting = new Set<() => void>();
  let finish: () => void;
  const ended = new Promise<void>((resolve) => (finish = resolve));
  const stop = subscribe({
    next(value) {
      if (value.errors) errors.push(...value.errors);
      if (value.data) heard.push(Object.values(value.data)[0]);
      for (const wake of waiting) wake();
    },
    error(error) {
      // A WebSocket's `error` holds all that is wrong.
      errors.push(...(Array.isArray(error) ? error : [error]));
      finish();
    },
    complete: () => finish(),
  });
  return {
    heard,
    errors,
    ended,
    stop,
    until: (when, patience = 30_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(
              new Error(`Not heard within ${patience} ms. Heard: ${JSON.stringify(heard)} ${JSON.stringify(errors)}`),
            ),
          patience,
        );
        const check = (): void => {
          if (!when(heard)) return;
          clearTimeout(timer);
          waiting.delete(check);
          resolve(heard);
        };
        waiting.add(check);
        check();
      }),
  };
}

export function connect(
  url: string,
  key: string | (() => string),
  on: NonNullable<Parameters<typeof createClient>[0]['on']> = {},
): Client {
  return createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: () => ({ authorization: `Bearer ${typeof key === 'string' ? key : key()}` }),
    lazy: true,
    retryAttempts: 0,
    on,
  });
}

export const listen = (client: Client, query: string, variables?: Record<string, unknown>): Listening =>
  collect((sink) => client.subscribe({ query, ...(variables ? { variables } : {}) }, sink));

/** Resolves when `condition` is true; checks it every few milliseconds. */
export async function eventually(condition: () => Promise<boolean> | boolean, patience = 30_000): Promise<void> {
  const end = Date.now() + patience;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('It never came true.');
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}
