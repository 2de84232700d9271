import { randomBytes } from 'node:crypto';
import { SETTING_LIMITS } from '../../src/domain/project.js';
import type { Database } from '../../src/store/database.js';
import { OPERATOR_KEY, post } from './app.js';

/**
 * A project whose data can be recognised: every text that only its own readers may see contains `secret`. Identities,
 * session keys and ids do not, because a stranger may have guessed them.
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
  /** A webhook that is stopped, so that it changes nothing by itself. */
  readonly webhookId: string;
  readonly eventCursor: string;
  readonly sessionCursor: string;
  readonly presenceCursor: string;
  readonly presenceChangeId: string;
  readonly userId: string;
  readonly presenceId: string;
  readonly auditEntryId: string;
  readonly userCursor: string;
  readonly historyCursor: string;
  readonly changeCursor: string;
  /** The UUIDs behind the ids. */
  readonly uuids: readonly string[];
}

export const uuidIn = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1]!;

export async function createTenant(url: string): Promise<Tenant> {
  const secret = `secret${randomBytes(6).toString('hex')}`;
  // No session ends, or goes offline, by itself while a test compares what was before with what is after (stateOf). These are
  // its first settings: timeouts that are changed are reckoned with a minute later, and that is written down.
  const settings = {
    inactivityTimeout: SETTING_LIMITS.inactivityTimeout.max,
    presenceTimeout: SETTING_LIMITS.presenceTimeout.max,
  };
  const made = await post(
    url,
    OPERATOR_KEY,
    'mutation ($name: String!, $settings: ProjectSettingsInput!) { createProject(name: $name, settings: $settings) { key } }',
    { name: `Project ${secret}`, settings },
  );
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
    `{ events { edges { cursor } } sessions { edges { cursor } } presence { edges { cursor node { id } } }
       users { edges { cursor node { id } } } presenceHistory { edges { cursor node { id } } }
       project { id auditLog { nodes { id } } } changeCursor }`,
  );
  const { events, sessions, presence, users, presenceHistory, project, changeCursor } = pages.data;
  const hooked = await post(
    url,
    key,
    `mutation ($url: String!, $query: String!, $name: String!) { createWebhook(url: $url, query: $query, name: $name) { webhook { id } } }`,
    {
      // A name that leads nowhere but to this machine, where no webhook may post.
      url: `https://localhost/${secret}`,
      query: `subscription { changes(filter: { identities: ["${secret}"] }) { cursor } }`,
      name: `webhook ${secret}`,
    },
  );
  if (hooked.errors) throw new Error(hooked.text);
  const webhookId: string = hooked.data.createWebhook.webhook.id;
  await post(url, key, 'mutation ($id: ID!) { updateWebhook(id: $id, enabled: false) { id } }', { id: webhookId });
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
    webhookId,
    eventCursor: events.edges[0].cursor,
    sessionCursor: sessions.edges[0].cursor,
    presenceCursor: presence.edges[0].cursor,
    changeCursor,
    presenceChangeId: presenceHistory.edges[0].node.id,
    userId: users.edges[0].node.id,
    presenceId: presence.edges[0].node.id,
    auditEntryId: project.auditLog.nodes[0].id,
    userCursor: users.edges[0].cursor,
    historyCursor: presenceHistory.edges[0].cursor,
    uuids: [
      project.id,
      keyId,
      webhookId,
      results[0].sessionId,
      results[1].sessionId,
      results[0].eventId,
      presenceHistory.edges[0].node.id,
      users.edges[0].node.id,
      project.auditLog.nodes[0].id,
    ].map(uuidIn),
  };
}

/**
 * All rows of a project as one text. An operation that changes nothing leaves this text unchanged. Settled minutes are left out: a
 * timed duty makes them from the changes of presence. So are the sums of sessions and of events, and their marks.
 */
export async function stateOf(database: Database, projectId: string): Promise<string> {
  const tables = await database.query<{ name: string }>({
    name: 'test.tables',
    text: `SELECT c.relname AS name FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'
           WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN ('presence_minutes', 'session_sums', 'session_sum_marks', 'event_sums', 'event_sum_marks', 'event_sum_ends') AND c.relnamespace = 'public'::regnamespace
           ORDER BY c.relname`,
  });
  const parts = [['projects', 'id'], ...tables.map(({ name }) => [name, 'project_id'])].map(
    ([table, column]) =>
      // `last_used_at` is written a moment after the key was used.
      `SELECT '${table}' AS name, (to_jsonb(t) - 'last_used_at')::text AS row FROM ${table} t WHERE ${column} = $1::uuid`,
  );
  const rows = await database.query<{ name: string; row: string }>({
    name: 'test.state',
    text: `SELECT * FROM (${parts.join(' UNION ALL ')}) all_rows ORDER BY name, row`,
    values: [uuidIn(projectId)],
  });
  return rows.map(({ name, row }) => `${name} ${row}`).join('\n');
}
