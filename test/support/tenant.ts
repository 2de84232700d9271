import { randomBytes } from 'node:crypto';
import { OPERATOR_KEY, post } from './app.js';
import type { Database } from '../../src/store/database.js';

/**
 * A project full of things that can be recognised: every text in it that only its own readers may know
 * holds `secret`. Identities, keys of sessions and ids are what a stranger may have guessed.
 */
export interface Tenant {
  readonly secret: string;
  readonly key: string;
  readonly projectId: string;
  readonly keyId: string;
  readonly identity: string;
  readonly sessionKey: string;
  readonly referenceId: string;
  readonly sessionId: string;
  readonly namedSessionId: string;
  readonly eventId: string;
  readonly eventCursor: string;
  readonly sessionCursor: string;
  readonly presenceCursor: string;
  /** The UUIDs behind the ids. */
  readonly uuids: readonly string[];
}

export const uuidIn = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1]!;

export async function createTenant(url: string): Promise<Tenant> {
  const secret = `secret${randomBytes(6).toString('hex')}`;
  const made = await post(url, OPERATOR_KEY, 'mutation ($name: String!) { createProject(name: $name) { key } }', {
    name: `Project ${secret}`,
  });
  const { key } = made.data.createProject;
  const identity = `ada-${randomBytes(6).toString('hex')}`;
  const sessionKey = `session-${randomBytes(6).toString('hex')}`;
  const referenceId = `reference-${randomBytes(6).toString('hex')}`;
  const event = {
    message: `message ${secret}`,
    source: `/source/${secret}`,
    tags: [`tag ${secret}`],
    version: secret,
    data: { plan: secret, '@request': { client_ip_address: '203.0.113.7' } },
    user: { identity, name: `Ada ${secret}`, data: { mail: secret } },
  };
  const filled = await post(
    url,
    key,
    `mutation ($events: [EventInput!]!, $settings: [ClientSettingInput!]!, $name: String!) {
       ingestEvents(events: $events) { accepted results { eventId sessionId } }
       setClientSettings(settings: $settings) { id }
       createApiKey(name: $name, scopes: [READ]) { apiKey { id } } }`,
    {
      events: [
        { ...event, referenceId, type: 'error' },
        { ...event, sessionKey, data: { plan: `named ${secret}` } },
      ],
      settings: [{ key: `@@${secret}`, value: secret }],
      name: `key ${secret}`,
    },
  );
  if (filled.errors) throw new Error(filled.text);
  const { results } = filled.data.ingestEvents;
  const pages = await post(
    url,
    key,
    '{ events { edges { cursor } } sessions { edges { cursor } } presence { edges { cursor } } project { id } }',
  );
  const { events, sessions, presence, project } = pages.data;
  const keyId: string = filled.data.createApiKey.apiKey.id;
  return {
    secret,
    key,
    projectId: project.id,
    keyId,
    identity,
    sessionKey,
    referenceId,
    sessionId: results[0].sessionId,
    namedSessionId: results[1].sessionId,
    eventId: results[0].eventId,
    eventCursor: events.edges[0].cursor,
    sessionCursor: sessions.edges[0].cursor,
    presenceCursor: presence.edges[0].cursor,
    uuids: [project.id, keyId, results[0].sessionId, results[1].sessionId, results[0].eventId].map(uuidIn),
  };
}

/** Everything the database holds of a project, as one text: what has changed nothing leaves it as it is. */
export async function stateOf(database: Database, projectId: string): Promise<string> {
  const tables = await database.query<{ name: string }>({
    name: 'test.tables',
    text: `SELECT c.relname AS name FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'
           WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
           ORDER BY c.relname`,
  });
  const parts = [['projects', 'id'], ...tables.map(({ name }) => [name, 'project_id'])].map(
    ([table, column]) =>
      // When a key was last used is noted a moment after its use.
      `SELECT '${table}' AS name, (to_jsonb(t) - 'last_used_at')::text AS row FROM ${table} t WHERE ${column} = $1::uuid`,
  );
  const rows = await database.query<{ name: string; row: string }>({
    name: 'test.state',
    text: `SELECT * FROM (${parts.join(' UNION ALL ')}) all_rows ORDER BY name, row`,
    values: [uuidIn(projectId)],
  });
  return rows.map(({ name, row }) => `${name} ${row}`).join('\n');
}
