import { SCOPE, SCOPES, TOKEN_SCOPES, type Caller, type Reach } from '../domain/access.js';
import type { AuditAction as AuditActionName, AuditEntry as AuditEntryRow } from '../domain/audit.js';
import { AppError } from '../errors.js';
import type { Actor } from '../services/access/audit.js';
import type { ApiKey as ApiKeyRow, Project as ProjectRow } from '../store/generated/prisma/client.js';
import { getKey, listKeys, MOST_KEYS } from '../store/access/api-keys.js';
import { countAuditEntries, getAuditEntry, listAuditEntries } from '../store/access/audit-log.js';
import { readClientSettings } from '../store/projects/client-settings.js';
import { countProjects, getProject, listProjects } from '../store/projects/projects.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { fromGlobalId, toGlobalId } from './global-id.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { checkScope, needs, needsAnyKey, projectCaller } from './scopes.js';

const Scope = builder.enumType('Scope', { description: 'What an API key or an access token may do.', values: SCOPE });

const SessionStartPolicy = builder.enumType('SessionStartPolicy', {
  description: 'What a `session` event does if the identity has an open session.',
  values: {
    RESTART: { description: 'The open session ends at the time of the event, and a new session starts.' },
    RESUME: { description: 'The open session goes on. The event is DISCARDED as a repeated start.' },
  },
});

const BotPolicy = builder.enumType('BotPolicy', {
  description: 'What the server does with events of bots. It recognises a bot by its user agent.',
  values: {
    MARK: { description: 'The server stores the events. `isBot` of their session is true.' },
    DROP: { description: 'The events are REJECTED with the code BOT.' },
  },
});

const ClientSetting = builder.objectRef<{ key: string; value: string }>('ClientSetting').implement({
  description: 'A setting for Exceptionless clients.',
  fields: (t) => ({
    key: t.exposeString('key', { description: 'The name of the setting, e.g. @@log:*.' }),
    value: t.exposeString('value', { description: 'The value of the setting, e.g. info.' }),
  }),
});

const ClientSettings = builder
  .objectRef<{ version: number; settings: Readonly<Record<string, string>> }>('ClientSettings')
  .implement({
    description: 'The settings that Exceptionless clients read from the server while they run.',
    fields: (t) => ({
      version: t.exposeInt('version', {
        description: 'The version of the settings. It grows with every setting that is set or removed.',
      }),
      entries: t.field({
        type: [ClientSetting],
        description: 'The settings, ordered by name.',
        resolve: ({ settings }) =>
          Object.entries(settings)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, value]) => ({ key, value })),
      }),
    }),
  });

const ClientSettingInput = builder.inputType('ClientSettingInput', {
  description: 'A setting to set or remove.',
  fields: (t) => ({
    key: t.string({ required: true, description: 'The name of the setting, 1 to 200 characters.' }),
    value: t.string({ description: 'The value of the setting, at most 2,000 characters; null removes the setting.' }),
  }),
});

const ProjectSettings = builder.objectRef<ProjectRow>('ProjectSettings').implement({
  description: 'The settings of a project.',
  fields: (t) => ({
    inactivityTimeout: t.exposeInt('inactivityTimeout', {
      description: 'After this many seconds without activity the server closes an open session. Default 300.',
    }),
    presenceTimeout: t.exposeInt('presenceTimeout', {
      description:
        'After this many seconds without a heartbeat or an event, a session that has sent heartbeats counts as offline. Default 75.',
    }),
    sessionStart: t.field({
      type: SessionStartPolicy,
      description: 'What a `session` event does if a session is open. Default RESTART.',
      resolve: (project) => project.sessionStart,
    }),
    retentionDays: t.exposeInt('retentionDays', {
      nullable: true,
      description:
        'How many days the server keeps sessions and events. It also deletes users that have no other data left. Null: the server keeps everything for ever.',
    }),
    changeRetentionDays: t.exposeInt('changeRetentionDays', {
      description:
        'How many days the feed of changes goes back (`changes`). Events and sessions that are not kept any more are left out of it. Times in which no server ran for ten minutes or longer do not count. Default 7.',
    }),
    storeIpAddress: t.exposeBoolean('storeIpAddress', {
      description:
        'Whether the server stores IP addresses. If false, it removes them before it stores anything. Default true.',
    }),
    bots: t.field({
      type: BotPolicy,
      description: 'What the server does with events of bots. Default MARK.',
      resolve: (project) => project.bots,
    }),
    allowedOrigins: t.exposeStringList('allowedOrigins', {
      description:
        'Origins whose pages may use the keys of the project, e.g. https://app.example.com or https://*.example.com. Empty: any origin. The rule is only for browsers: other programs send no origin.',
    }),
    rateLimit: t.exposeInt('rateLimit', {
      nullable: true,
      description: 'Rate limit in points a minute, for each key of the project. Null: the limit of the server.',
    }),
  }),
});

const ProjectSettingsInput = builder.inputType('ProjectSettingsInput', {
  description: 'The settings to change. A setting that is left out does not change.',
  fields: (t) => ({
    inactivityTimeout: t.int({ description: 'Seconds without activity, 10 to 86,400.' }),
    presenceTimeout: t.int({ description: 'Seconds without a heartbeat or an event, 2 to 86,400.' }),
    sessionStart: t.field({
      type: SessionStartPolicy,
      description: 'What a `session` event does if a session is open.',
    }),
    retentionDays: t.int({ description: 'Days, 1 to 36,500. Null: the server keeps everything.' }),
    changeRetentionDays: t.int({ description: 'Days that the feed of changes goes back, 1 to 30.' }),
    storeIpAddress: t.boolean({ description: 'Whether the server stores IP addresses.' }),
    bots: t.field({ type: BotPolicy, description: 'What the server does with events of bots.' }),
    allowedOrigins: t.stringList({
      description:
        'At most 100 origins: scheme and host, without a path. `*.` stands for any subdomain. []: any origin.',
    }),
    rateLimit: t.int({
      description: 'Points a minute for each key, 60 to 100,000,000. Null: the limit of the server.',
    }),
  }),
});

const ApiKey = builder.objectRef<ApiKeyRow>('ApiKey');
builder.node(ApiKey, {
  description: 'A secret with which an application uses this API.',
  id: { resolve: (key) => key.id, description: 'The id of the key, for revokeApiKey.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'prefix' in value,
  loadOne: (id, context) => {
    checkScope(context.caller, ['MANAGE']);
    return getKey(context.services.database, projectCaller(context).reach, fromGlobalId('ApiKey', id, 'id'));
  },
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name of the key: what it is for.' }),
    prefix: t.exposeString('prefix', {
      description:
        'The first characters of the key, to recognise the key by. The whole key is shown only once, when it is made.',
    }),
    scopes: t.field({
      type: [Scope],
      description: 'What the key may do.',
      resolve: (key) => SCOPES.filter((scope) => key.scopes.includes(scope)),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When the key was made.' }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the key was last used, to the minute; null if it was never used.',
    }),
    revokedAt: t.expose('revokedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the key was revoked; null while it is valid.',
    }),
  }),
});

const AuditAction = builder.enumType('AuditAction', {
  description: 'The kind of a change of a project.',
  values: {
    PROJECT_CREATED: { description: 'The project was made, with a first key.' },
    PROJECT_UPDATED: { description: 'The name or the settings of the project were changed.' },
    CLIENT_SETTINGS_CHANGED: { description: 'The settings for Exceptionless clients were changed.' },
    API_KEY_CREATED: { description: 'A key was made.' },
    API_KEY_REVOKED: { description: 'A key was revoked.' },
    USER_ERASED: { description: 'A user was erased.' },
    WEBHOOK_CREATED: { description: 'A webhook was made.' },
    WEBHOOK_UPDATED: { description: 'A webhook was changed, started or stopped.' },
    WEBHOOK_SECRET_ROTATED: { description: 'A webhook got a new secret.' },
    WEBHOOK_DELETED: { description: 'A webhook was deleted.' },
    WEBHOOK_DISABLED: { description: 'The server gave up a webhook; the details have the reason.' },
  } satisfies Record<AuditActionName, { description: string }>,
});

const AuditEntry = builder.objectRef<AuditEntryRow>('AuditEntry');
builder.node(AuditEntry, {
  description: 'A change of a project, as the audit log keeps it.',
  id: { resolve: ({ id }) => id, description: 'The id of the entry.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'action' in value,
  loadOne: (id, context) => {
    checkScope(context.caller, ['MANAGE']);
    return getAuditEntry(context.services.database, projectCaller(context).reach, fromGlobalId('AuditEntry', id, 'id'));
  },
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'When the change was made.' }),
    action: t.expose('action', { type: AuditAction, description: 'The kind of the change.' }),
    apiKeyId: t.id({
      nullable: true,
      description: 'The id of the key that made the change. Null: the operator made it, or the server itself.',
      resolve: ({ keyId }) => keyId && toGlobalId('ApiKey', keyId),
    }),
    details: t.expose('details', {
      type: 'JSONObject',
      description: 'The new values. They never contain a secret; of an erased user they contain only the hash.',
    }),
  }),
});

const AuditEntryConnection = builder.connectionObject(
  { type: AuditEntry, name: 'AuditEntryConnection', description: 'A page of changes.' },
  { name: 'AuditEntryEdge', description: 'A change in a page.' },
);
const NEWEST_FIRST: Paging<string> = { kind: 'audit', isPlace: isUuid };

/** `keys`: all keys of the project, if the resolver already knows them. */
export const Project = builder.objectRef<ProjectRow & { readonly keys?: readonly ApiKeyRow[] }>('Project');
/** A key that has only INGEST or PRESENCE cannot read the settings of its project. */
const needsToKnow = needs('READ', 'MANAGE', 'OPERATOR');
/** Only a key of the project and the operator can get a project, and both may read all of it. */
export const reachOf = ({ id }: ProjectRow): Reach => ({ projectId: id, userIds: null });

/** The value that was read. Throws NOT_FOUND if the project does not exist any more. */
function found<Read>(read: Read | null): Read {
  if (read !== null) return read;
  throw new AppError('NOT_FOUND', 'The project does not exist any more.');
}

const ownProject = async (context: Context): Promise<ProjectRow> =>
  found(await getProject(context.services.database, projectCaller(context).reach));

builder.node(Project, {
  description: 'One application whose users are tracked. Each key belongs to exactly one project.',
  id: { resolve: (project) => project.id, description: 'The id of the project.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'inactivityTimeout' in value,
  loadOne: (id, context) => {
    const { reach } = projectCaller(context);
    return fromGlobalId('Project', id, 'id') === reach.projectId ? ownProject(context) : null;
  },
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name of the project, for display.' }),
    settings: t.field({
      type: ProjectSettings,
      description: 'The settings of the project. Needs READ or MANAGE.',
      ...needsToKnow,
      resolve: (project) => project,
    }),
    apiKeys: t.field({
      type: [ApiKey],
      description:
        'The keys of the project, the oldest first, with the revoked ones: at most 250. Needs MANAGE, or the operator key.',
      extensions: { ...needs('MANAGE', 'OPERATOR').extensions, reads: MOST_KEYS, holds: MOST_KEYS },
      resolve: (project, _args, { services: { database } }) => project.keys ?? listKeys(database, reachOf(project)),
    }),
    // This field and auditLog are nullable: if one of them fails, the caller still gets the rest of the answer, e.g. a new key.
    clientSettings: t.field({
      type: ClientSettings,
      nullable: true,
      description:
        'The settings that Exceptionless clients read from the server while they run; null, with an error, if the server cannot read them. Needs READ or MANAGE.',
      ...needsToKnow,
      resolve: async (project, _args, { services: { database } }) =>
        found(await readClientSettings(database, reachOf(project))),
    }),
    createdAt: t.expose('createdAt', {
      type: 'DateTime',
      description: 'When the project was made. Needs READ or MANAGE.',
      ...needsToKnow,
    }),
  }),
});

builder.queryField('project', (t) =>
  t.field({
    type: Project,
    description:
      'The project of the key that sends the query. Any key may read id and name; the other fields need READ or MANAGE.',
    ...needsAnyKey,
    resolve: (_root, _args, context) => ownProject(context),
  }),
);

const ProjectConnection = builder.connectionObject(
  { type: Project, name: 'ProjectConnection', description: 'A page of projects.' },
  { name: 'ProjectEdge', description: 'A project in a page.' },
);
const NEWEST_PROJECT_FIRST: Paging<string> = { kind: 'projects', isPlace: isUuid };

builder.queryField('projects', (t) =>
  t.connection(
    {
      type: Project,
      description: 'Every project of the installation, the newest first. Needs the operator key.',
      ...needs('OPERATOR'),
      async resolve(_root, args, { services: { database } }) {
        const page = toPage(NEWEST_PROJECT_FIRST, args);
        return toConnection(
          NEWEST_PROJECT_FIRST,
          page,
          await listProjects(database, page),
          ({ id }) => id,
          () => countProjects(database),
        );
      },
    },
    ProjectConnection,
  ),
);

const CreateProjectPayload = builder
  .objectRef<{ project: ProjectRow; apiKey: ApiKeyRow; key: string }>('CreateProjectPayload')
  .implement({
    description: 'A new project and its first key.',
    fields: (t) => ({
      project: t.field({
        type: Project,
        description: 'The new project.',
        resolve: ({ project, apiKey }) => ({ ...project, keys: [apiKey] }),
      }),
      key: t.exposeString('key', {
        description: 'A first key with every scope. The server does not store this secret and cannot show it again.',
      }),
    }),
  });

const CreateApiKeyPayload = builder.objectRef<{ apiKey: ApiKeyRow; key: string }>('CreateApiKeyPayload').implement({
  description: 'A new key.',
  fields: (t) => ({
    apiKey: t.field({
      type: ApiKey,
      description: 'The new key, as apiKeys lists it.',
      resolve: ({ apiKey }) => apiKey,
    }),
    key: t.exposeString('key', { description: 'The secret. The server does not store it and cannot show it again.' }),
  }),
});

const AccessTokenPayload = builder.objectRef<{ token: string; expiresAt: Date }>('AccessTokenPayload').implement({
  description: 'A new access token.',
  fields: (t) => ({
    token: t.exposeString('token', { description: 'A signed JWT for a front end. Send it in the place of a key.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When the token expires.' }),
  }),
});

const EraseUserPayload = builder
  .objectRef<{ sessions: number; events: number; cursor: string }>('EraseUserPayload')
  .implement({
    description: 'What eraseUser deleted.',
    fields: (t) => ({
      sessions: t.exposeInt('sessions', { description: 'Number of deleted sessions.' }),
      events: t.exposeInt('events', { description: 'Number of deleted events.' }),
      cursor: t.exposeString('cursor', {
        description: 'The cursor of the ErasureChange that tells of it in the feed of changes.',
      }),
    }),
  });

/**
 * The actor that makes a key. Throws BAD_USER_INPUT if the operator names no project, and NOT_FOUND if a key names a project
 * that is not its own.
 */
function makerOf(caller: Caller, named: string | null): Actor {
  const projectId = named === null ? null : fromGlobalId('Project', named, 'projectId');
  if (caller.kind === 'operator') {
    if (projectId !== null) return { reach: { projectId, userIds: null }, keyId: null };
    throw new AppError('BAD_USER_INPUT', 'The operator key belongs to no project. Name the project in projectId.', {
      field: 'projectId',
    });
  }
  if (projectId === null || projectId === caller.reach.projectId) return caller;
  throw new AppError('NOT_FOUND', 'The key does not belong to the project of projectId. Leave projectId out.', {
    field: 'projectId',
  });
}

builder.mutationFields((t) => ({
  createProject: t.field({
    type: CreateProjectPayload,
    description: 'Makes a project. Needs the operator key.',
    ...needs('OPERATOR'),
    args: {
      name: t.arg.string({ required: true, description: 'The name of the project, 1 to 100 characters.' }),
      settings: t.arg({ type: ProjectSettingsInput, description: 'The settings that differ from the defaults.' }),
    },
    resolve: (_root, { name, settings }, { services }) =>
      services.projects.create({ name, settings: settings ?? null }),
  }),
  updateProject: t.field({
    type: Project,
    description:
      'Changes the project. A changed timeout applies at once to the first two thousand open sessions, and soon after to the others. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      name: t.arg.string({ description: 'The new name, 1 to 100 characters.' }),
      settings: t.arg({ type: ProjectSettingsInput, description: 'The settings to change.' }),
    },
    resolve: (_root, { name, settings }, context) =>
      context.services.projects.update(projectCaller(context), {
        name: name ?? null,
        settings: settings ?? null,
      }),
  }),
  setClientSettings: t.field({
    type: Project,
    description:
      'Sets and removes settings of Exceptionless clients. The clients read them within two minutes, or with their next batch. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      settings: t.arg({
        type: [ClientSettingInput],
        required: true,
        description: 'The settings to change; the others stay. A project has at most 200.',
      }),
    },
    async resolve(_root, { settings }, context) {
      const caller = projectCaller(context);
      await context.services.clientSettings.change(caller, settings);
      return ownProject(context);
    },
  }),
  createApiKey: t.field({
    type: CreateApiKeyPayload,
    description:
      'Makes a key of the project. A project has at most 250 keys (TOO_MANY_KEYS); the server removes a key that was revoked more than a day ago if a new key needs its place. Needs MANAGE, or the operator key.',
    ...needs('MANAGE', 'OPERATOR'),
    args: {
      projectId: t.arg.id({
        description:
          'The project of the new key. The operator key needs it, because that key belongs to no project. Any other key makes keys of its own project, and may leave it out.',
      }),
      name: t.arg.string({ required: true, description: 'What the key is for: 1 to 100 characters.' }),
      scopes: t.arg({ type: [Scope], required: true, description: 'What the key may do: at least one scope.' }),
    },
    resolve: (_root, { projectId, name, scopes }, { caller, services }) =>
      services.keys.create(makerOf(caller, projectId ?? null), { name, scopes }),
  }),
  revokeApiKey: t.field({
    type: ApiKey,
    description:
      'Revokes a key and the tokens that were made with it. This takes effect at once, on every server and on open subscriptions. The last valid key with MANAGE cannot be revoked (LAST_MANAGE_KEY). Needs MANAGE.',
    ...needs('MANAGE'),
    args: { id: t.arg.id({ required: true, description: 'The id of the key.' }) },
    resolve: async (_root, { id }, context) => {
      const key = await context.services.keys.revoke(projectCaller(context), fromGlobalId('ApiKey', id, 'id'));
      if (key) return key;
      throw new AppError('NOT_FOUND', 'The project has no key with this id.', { field: 'id' });
    },
  }),
  createAccessToken: t.field({
    type: AccessTokenPayload,
    description:
      'Makes a short-lived access token for a front end. The token is valid no longer than the key that made it. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      scopes: t.arg({
        type: [Scope],
        required: true,
        description: `What the token may do: ${TOKEN_SCOPES.join(', ')}; at least one.`,
      }),
      identities: t.arg.stringList({
        description:
          'Limits everything that the token can read or send to these users: 1 to 1,000. The whole token has at most 3,072 characters (about 80 e-mail addresses), because a header and a WebSocket must carry it.',
      }),
      expiresIn: t.arg.int({
        required: true,
        defaultValue: 3600,
        description: 'How long the token is valid, in seconds: 1 to 86,400.',
      }),
    },
    resolve: (_root, { scopes, identities, expiresIn }, context) =>
      context.services.keys.createToken(projectCaller(context), { scopes, identities: identities ?? null, expiresIn }),
  }),
  eraseUser: t.field({
    type: EraseUserPayload,
    description:
      'Deletes the user and every session and event of the user. Subscribers no longer see the user. Needs MANAGE.',
    ...needs('MANAGE'),
    args: { identity: t.arg.string({ required: true, description: "The user's identity." }) },
    resolve: (_root, { identity }, context) => context.services.eraseUser(projectCaller(context), identity),
  }),
}));

builder.objectField(Project, 'auditLog', (t) =>
  t.connection(
    {
      type: AuditEntry,
      nullable: true,
      description:
        'The changes of settings and keys, and the erased users, of the last two years, the newest first. Null, with an error, if the server cannot read them. Needs MANAGE, or the operator key.',
      ...needs('MANAGE', 'OPERATOR'),
      async resolve(project, args, { services: { database } }) {
        const reach = reachOf(project);
        const page = toPage(NEWEST_FIRST, args);
        return toConnection(
          NEWEST_FIRST,
          page,
          await listAuditEntries(database, reach, page),
          ({ id }) => id,
          () => countAuditEntries(database, reach),
        );
      },
    },
    AuditEntryConnection,
  ),
);
