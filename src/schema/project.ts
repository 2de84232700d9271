import { SCOPES, type Caller, type Reach } from '../domain/access.js';
import type { AuditAction as AuditActionName, AuditEntry as AuditEntryRow } from '../domain/audit.js';
import { AppError } from '../errors.js';
import type { Actor } from '../services/audit.js';
import type { ApiKey as ApiKeyRow, Project as ProjectRow } from '../store/generated/prisma/client.js';
import { getKey } from '../store/api-keys.js';
import { countAuditEntries, listAuditEntries } from '../store/audit-log.js';
import { countProjects, listProjects } from '../store/projects.js';
import { builder } from './builder.js';
import { fromGlobalId, toGlobalId } from './global-id.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { checkScope, needs, needsAnyKey, projectCaller } from './scopes.js';

const Scope = builder.enumType('Scope', {
  description: 'What a key or token may do.',
  values: {
    INGEST: { description: 'Send events and heartbeats. Safe to ship in a browser.' },
    READ: { description: 'Read sessions, events, statistics and presence.' },
    PRESENCE: { description: 'Read presence alone.' },
    MANAGE: { description: 'Change the project: settings, keys, erasure.' },
  } satisfies Record<(typeof SCOPES)[number], { description: string }>,
});

const SessionStartPolicy = builder.enumType('SessionStartPolicy', {
  description: 'What a `session` event does where the identity has an open session.',
  values: {
    RESTART: { description: 'The open session ends where the new one starts.' },
    RESUME: { description: 'The open session goes on; the event is a repeated start.' },
  },
});

const BotPolicy = builder.enumType('BotPolicy', {
  description: 'What becomes of events that a bot sends, as its user agent shows it.',
  values: {
    MARK: { description: 'They are kept; `isBot` of their session says so.' },
    DROP: { description: 'They are REJECTED with the code BOT.' },
  },
});

const ClientSetting = builder.objectRef<{ key: string; value: string }>('ClientSetting').implement({
  description: 'A setting for Exceptionless clients.',
  fields: (t) => ({
    key: t.exposeString('key', { description: 'Its name, e.g. @@log:*.' }),
    value: t.exposeString('value', { description: 'Its value, e.g. info.' }),
  }),
});

const ClientSettings = builder
  .objectRef<{ version: number; settings: Readonly<Record<string, string>> }>('ClientSettings')
  .implement({
    description: 'What Exceptionless clients pick up while they run.',
    fields: (t) => ({
      version: t.exposeInt('version', { description: 'Grows with every setting that is set or removed.' }),
      entries: t.field({
        type: [ClientSetting],
        description: 'The settings, by name.',
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
    key: t.string({ required: true, description: 'Its name, 1 to 200 characters.' }),
    value: t.string({ description: 'Its value, at most 2,000 characters; null removes the setting.' }),
  }),
});

const ProjectSettings = builder.objectRef<ProjectRow>('ProjectSettings').implement({
  description: 'How a project treats its sessions.',
  fields: (t) => ({
    inactivityTimeout: t.exposeInt('inactivityTimeout', {
      description: 'Seconds without any activity after which an open session is closed. Default 300.',
    }),
    presenceTimeout: t.exposeInt('presenceTimeout', {
      description:
        'Seconds without a heartbeat after which a session that sends heartbeats counts as offline. Default 75.',
    }),
    sessionStart: t.field({
      type: SessionStartPolicy,
      description: 'What a `session` event does where a session is open. Default RESTART.',
      resolve: (project) => project.sessionStart,
    }),
    retentionDays: t.exposeInt('retentionDays', {
      nullable: true,
      description:
        'Days to keep sessions and events, and users of whom nothing else is left; null keeps them for ever.',
    }),
    storeIpAddress: t.exposeBoolean('storeIpAddress', {
      description: 'Where false, IP addresses are dropped before anything is stored. Default true.',
    }),
    bots: t.field({
      type: BotPolicy,
      description: 'What becomes of events that a bot sends. Default MARK.',
      resolve: (project) => project.bots,
    }),
    allowedOrigins: t.exposeStringList('allowedOrigins', {
      description:
        'Origins whose pages may use the keys of the project, e.g. https://app.example.com or https://*.example.com; empty allows any. Programs that are no browser send no origin, and are not concerned.',
    }),
    rateLimit: t.exposeInt('rateLimit', {
      nullable: true,
      description: 'Points a minute for each key of the project; null: what the server allows.',
    }),
  }),
});

const ProjectSettingsInput = builder.inputType('ProjectSettingsInput', {
  description: 'Settings to change; what is left out stays as it is.',
  fields: (t) => ({
    inactivityTimeout: t.int({ description: 'Seconds, 10 to 86,400.' }),
    presenceTimeout: t.int({ description: 'Seconds, 2 to 86,400.' }),
    sessionStart: t.field({
      type: SessionStartPolicy,
      description: 'What a `session` event does where a session is open.',
    }),
    retentionDays: t.int({ description: 'Days, 1 to 36,500; null keeps everything.' }),
    storeIpAddress: t.boolean({ description: 'Whether IP addresses are kept.' }),
    bots: t.field({ type: BotPolicy, description: 'What becomes of events that a bot sends.' }),
    allowedOrigins: t.stringList({
      description: 'At most 100 origins, scheme and host without a path; `*.` stands for any subdomain. [] allows any.',
    }),
    rateLimit: t.int({
      description: 'Points a minute for each key, 60 to 100,000,000; null: what the server allows.',
    }),
  }),
});

const ApiKey = builder.objectRef<ApiKeyRow>('ApiKey');
builder.node(ApiKey, {
  description: 'A secret that lets an application in.',
  id: { resolve: (key) => key.id, description: 'The id of the key, for revokeApiKey.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'prefix' in value,
  loadOne: (id, context) => {
    checkScope(context.caller, ['MANAGE']);
    return getKey(context.services.database, projectCaller(context).reach, fromGlobalId('ApiKey', id, 'id'));
  },
  fields: (t) => ({
    name: t.exposeString('name', { description: 'What it was made for.' }),
    prefix: t.exposeString('prefix', {
      description:
        'The first characters of the key, to recognise it by. The key itself is shown once, when it is made.',
    }),
    scopes: t.field({
      type: [Scope],
      description: 'What it may do.',
      resolve: (key) => SCOPES.filter((scope) => key.scopes.includes(scope)),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was last used, to the minute.',
    }),
    revokedAt: t.expose('revokedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was revoked; null while it is good.',
    }),
  }),
});

const AuditAction = builder.enumType('AuditAction', {
  description: 'What was done to a project.',
  values: {
    PROJECT_CREATED: { description: 'It was made, with a first key.' },
    PROJECT_UPDATED: { description: 'Its name or settings were changed.' },
    CLIENT_SETTINGS_CHANGED: { description: 'What Exceptionless clients pick up was changed.' },
    API_KEY_CREATED: { description: 'A key was made.' },
    API_KEY_REVOKED: { description: 'A key was revoked.' },
    USER_ERASED: { description: 'A user was erased.' },
  } satisfies Record<AuditActionName, { description: string }>,
});

const AuditEntry = builder.objectRef<AuditEntryRow>('AuditEntry').implement({
  description: 'A change of a project.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'When.' }),
    action: t.expose('action', { type: AuditAction, description: 'What was done.' }),
    apiKeyId: t.id({
      nullable: true,
      description: 'The id of the key that did it; null: the operator.',
      resolve: ({ keyId }) => keyId && toGlobalId('ApiKey', keyId),
    }),
    details: t.expose('details', {
      type: 'JSONObject',
      description: 'What was changed to what. Never a secret; of an erased user the hash alone.',
    }),
  }),
});

const AuditEntryConnection = builder.connectionObject(
  { type: AuditEntry, name: 'AuditEntryConnection', description: 'A page of changes.' },
  { name: 'AuditEntryEdge', description: 'A change in a page.' },
);
const NEWEST_FIRST: Paging<string> = { kind: 'audit', isPlace: isUuid };

const Project = builder.objectRef<ProjectRow>('Project');
/** Whoever has come by a project may reach it: a key of its own, or the operator. */
const reachOf = ({ id }: ProjectRow): Reach => ({ projectId: id, userIds: null });
builder.node(Project, {
  description: 'One application whose users are tracked. A key belongs to exactly one.',
  id: { resolve: (project) => project.id, description: 'The id of the project.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'inactivityTimeout' in value,
  loadOne: (id, context) => {
    const { reach } = projectCaller(context);
    return fromGlobalId('Project', id, 'id') === reach.projectId ? context.services.projects.get(reach) : null;
  },
  fields: (t) => ({
    name: t.exposeString('name', { description: 'What people call it.' }),
    settings: t.field({
      type: ProjectSettings,
      description: 'How it treats its sessions.',
      resolve: (project) => project,
    }),
    apiKeys: t.field({
      type: [ApiKey],
      description: 'Its keys, the oldest first, revoked ones too. Needs MANAGE, or the operator key.',
      ...needs('MANAGE', 'OPERATOR'),
      resolve: (project, _args, { services }) => services.keys.list(reachOf(project)),
    }),
    // Null can stand here and for the audit log, so that what fails of them leaves the rest of an answer: a new key among it.
    clientSettings: t.field({
      type: ClientSettings,
      nullable: true,
      description: 'What Exceptionless clients pick up while they run; null, with an error, where it cannot be read.',
      resolve: (project, _args, { services }) => services.clientSettings.read(reachOf(project)),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
  }),
});

builder.queryField('project', (t) =>
  t.field({
    type: Project,
    description: 'The project of the key that asks.',
    ...needsAnyKey,
    resolve: (_root, _args, context) => context.services.projects.get(projectCaller(context).reach),
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

const CreateProjectPayload = builder.objectRef<{ project: ProjectRow; key: string }>('CreateProjectPayload').implement({
  description: 'A new project and its first key.',
  fields: (t) => ({
    project: t.field({ type: Project, description: 'The new project.', resolve: ({ project }) => project }),
    key: t.exposeString('key', {
      description: 'A first key with every scope. It is not stored and cannot be shown again.',
    }),
  }),
});

const CreateApiKeyPayload = builder.objectRef<{ apiKey: ApiKeyRow; key: string }>('CreateApiKeyPayload').implement({
  description: 'A new key.',
  fields: (t) => ({
    apiKey: t.field({ type: ApiKey, description: 'The new key, as it is listed.', resolve: ({ apiKey }) => apiKey }),
    key: t.exposeString('key', { description: 'The secret. It is not stored and cannot be shown again.' }),
  }),
});

const AccessTokenPayload = builder.objectRef<{ token: string; expiresAt: Date }>('AccessTokenPayload').implement({
  description: 'A new access token.',
  fields: (t) => ({
    token: t.exposeString('token', { description: 'A signed JWT for a front end: send it where a key goes.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it stops being good.' }),
  }),
});

const EraseUserPayload = builder.objectRef<{ sessions: number; events: number }>('EraseUserPayload').implement({
  description: 'What was deleted.',
  fields: (t) => ({
    sessions: t.exposeInt('sessions', { description: 'Sessions deleted.' }),
    events: t.exposeInt('events', { description: 'Events deleted.' }),
  }),
});

/** In whose name a key is made. BAD_USER_INPUT where the operator names no project, NOT_FOUND for a key that names another than its own. */
function makerOf(caller: Caller, named: string | null): Actor {
  const projectId = named === null ? null : fromGlobalId('Project', named, 'projectId');
  if (caller.kind === 'operator') {
    if (projectId !== null) return { reach: { projectId, userIds: null }, keyId: null };
    throw new AppError('BAD_USER_INPUT', 'The operator key belongs to no project: projectId says which one.', {
      field: 'projectId',
    });
  }
  if (projectId === null || projectId === caller.reach.projectId) return caller;
  throw new AppError('NOT_FOUND', 'The key belongs to another project; projectId may be left out.', {
    field: 'projectId',
  });
}

builder.mutationFields((t) => ({
  createProject: t.field({
    type: CreateProjectPayload,
    description: 'Makes a project. Needs the operator key.',
    ...needs('OPERATOR'),
    args: {
      name: t.arg.string({ required: true, description: '1 to 100 characters.' }),
      settings: t.arg({ type: ProjectSettingsInput, description: 'Where they differ from the defaults.' }),
    },
    resolve: (_root, { name, settings }, { services }) =>
      services.projects.create({ name, settings: settings ?? null }),
  }),
  updateProject: t.field({
    type: Project,
    description:
      'Changes the project; a changed timeout reaches open sessions at once, those beyond the first two thousand soon after. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      name: t.arg.string({ description: '1 to 100 characters.' }),
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
      'Sets and removes settings that Exceptionless clients pick up, within two minutes or with their next batch. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      settings: t.arg({
        type: [ClientSettingInput],
        required: true,
        description: 'The settings to change; others stay. There are at most 200.',
      }),
    },
    async resolve(_root, { settings }, context) {
      const caller = projectCaller(context);
      await context.services.clientSettings.change(caller, settings);
      return context.services.projects.get(caller.reach);
    },
  }),
  createApiKey: t.field({
    type: CreateApiKeyPayload,
    description: 'Makes a key of the project. Needs MANAGE, or the operator key.',
    ...needs('MANAGE', 'OPERATOR'),
    args: {
      projectId: t.arg.id({
        description:
          'The project, for the operator, who belongs to none; a key makes keys of its own project, and may leave it out.',
      }),
      name: t.arg.string({ required: true, description: 'What it is for: 1 to 100 characters.' }),
      scopes: t.arg({ type: [Scope], required: true, description: 'What it may do: at least one scope.' }),
    },
    resolve: (_root, { projectId, name, scopes }, { caller, services }) =>
      services.keys.create(makerOf(caller, projectId ?? null), { name, scopes }),
  }),
  revokeApiKey: t.field({
    type: ApiKey,
    description:
      'Revokes a key, and the tokens it has made. Takes effect at once, on every server and on open subscriptions. The last good key with MANAGE stays: LAST_MANAGE_KEY. Needs MANAGE.',
    ...needs('MANAGE'),
    args: { id: t.arg.id({ required: true, description: 'The id of the key.' }) },
    resolve: async (_root, { id }, context) => {
      const key = await context.services.keys.revoke(projectCaller(context), fromGlobalId('ApiKey', id, 'id'));
      if (key) return key;
      throw new AppError('NOT_FOUND', 'The project has no key of this id.', { field: 'id' });
    },
  }),
  createAccessToken: t.field({
    type: AccessTokenPayload,
    description:
      'Makes a short-lived token for a front end. It lives no longer than the key that made it. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      scopes: t.arg({ type: [Scope], required: true, description: 'READ, PRESENCE, INGEST: at least one.' }),
      identities: t.arg.stringList({
        description: 'Narrows everything the token can see or send to these users: 1 to 1,000.',
      }),
      expiresIn: t.arg.int({ required: true, defaultValue: 3600, description: 'Seconds, 1 to 86,400.' }),
    },
    resolve: (_root, { scopes, identities, expiresIn }, context) =>
      context.services.keys.createToken(projectCaller(context), { scopes, identities: identities ?? null, expiresIn }),
  }),
  eraseUser: t.field({
    type: EraseUserPayload,
    description:
      'Deletes every session and event of the user, everywhere, and the user from what subscribers see. Needs MANAGE.',
    ...needs('MANAGE'),
    args: { identity: t.arg.string({ required: true, description: 'Who.' }) },
    resolve: (_root, { identity }, context) => context.services.eraseUser(projectCaller(context), identity),
  }),
}));

builder.objectField(Project, 'auditLog', (t) =>
  t.connection(
    {
      type: AuditEntry,
      nullable: true,
      description:
        'Who changed its settings and keys, and erased users, in the last two years; the newest first. Null, with an error, where it cannot be read. Needs MANAGE, or the operator key.',
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
