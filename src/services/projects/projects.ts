import type { Reach } from '../../domain/access.js';
import { SCOPES } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import { uuidAt } from '../../domain/event-id.js';
import { ORIGIN } from '../../domain/origin.js';
import { DEFAULT_SETTINGS, SETTING_LIMITS, type ProjectSettings } from '../../domain/project.js';
import { hashSecret, newApiKey, prefixOf } from '../../domain/secret.js';
import { AppError } from '../../errors.js';
import { addKey } from '../../store/access/api-keys.js';
import type { PrismaDatabase } from '../../store/database.js';
import type { ApiKey, Project } from '../../store/generated/prisma/client.js';
import { audit, type Actor } from '../access/audit.js';
import { checkName } from '../access/check-name.js';
import type { ChangedTimeouts } from '../ingest/changed-timeouts.js';
import { addProject, changeProject, getProject } from '../../store/projects/projects.js';

/**
 * Settings as a caller gives them. Undefined leaves a setting unchanged. Null does too, but it clears retentionDays and
 * rateLimit.
 */
type SettingsInput = { readonly [Name in keyof ProjectSettings]?: ProjectSettings[Name] | null };

export interface Projects {
  /**
   * For the operator. Answers the project, a first key with every scope, and the row of that key. With the row, a caller
   * that shows the keys of the new project need not read again; a read could fail, and the key would be lost. Throws
   * BAD_USER_INPUT, which names the wrong setting.
   */
  create(input: {
    name: string;
    settings?: SettingsInput | null;
  }): Promise<{ project: Project; apiKey: ApiKey; key: string }>;
  /** Changes what is given. A changed timeout is applied to the first two thousand open sessions before the answer. */
  update(actor: Actor, input: { name?: string | null; settings?: SettingsInput | null }): Promise<Project>;
}

const MOST_ORIGINS = 100;

function checkSettings(input: SettingsInput | null | undefined): Partial<ProjectSettings> {
  if (!input) return {};
  const { retentionDays, rateLimit, ...others } = input;
  const settings: Partial<ProjectSettings> = Object.fromEntries(
    Object.entries(others).filter(([, value]) => value != null),
  );
  const given = {
    ...settings,
    ...(retentionDays !== undefined && { retentionDays }),
    ...(rateLimit !== undefined && { rateLimit }),
  };
  for (const [name, { min, max }] of Object.entries(SETTING_LIMITS)) {
    const value = given[name as keyof typeof SETTING_LIMITS];
    if (value == null || (Number.isInteger(value) && value >= min && value <= max)) continue;
    throw new AppError('BAD_USER_INPUT', `settings.${name} must be a whole number from ${min} to ${max}.`, {
      field: `settings.${name}`,
    });
  }
  const { allowedOrigins } = given;
  if (!allowedOrigins) return given;
  const wrong = allowedOrigins.find((origin) => !ORIGIN.test(origin));
  if (wrong !== undefined || allowedOrigins.length > MOST_ORIGINS) {
    throw new AppError(
      'BAD_USER_INPUT',
      wrong === undefined
        ? `settings.allowedOrigins has ${allowedOrigins.length} origins; at most ${MOST_ORIGINS} are allowed.`
        : 'settings.allowedOrigins must have origins like https://app.example.com or https://*.example.com, without a path.',
      { field: 'settings.allowedOrigins' },
    );
  }
  return { ...given, allowedOrigins: [...new Set(allowedOrigins.map((origin) => origin.toLowerCase()))] };
}

export function createProjects(deps: {
  database: PrismaDatabase;
  clock: Clock;
  timeouts: Pick<ChangedTimeouts, 'reach'>;
}): Projects {
  const { database, clock, timeouts } = deps;
  async function get(reach: Reach): Promise<Project> {
    const project = await getProject(database, reach);
    if (project) return project;
    throw new AppError('NOT_FOUND', 'This project no longer exists.');
  }

  return {
    async create({ name, settings }) {
      const now = clock.now();
      const wanted = {
        ...DEFAULT_SETTINGS,
        ...checkSettings(settings),
        id: uuidAt(now),
        name: checkName(name),
        createdAt: now,
      };
      const key = newApiKey();
      const reach = { projectId: wanted.id, userIds: null };
      const made = await database.prismaTransaction(async (tx) => {
        const project = await addProject(tx, wanted);
        const apiKey = await addKey(tx, reach, {
          id: uuidAt(now),
          name: 'First key',
          prefix: prefixOf(key),
          hash: new Uint8Array(hashSecret(key)),
          scopes: [...SCOPES],
          createdAt: now,
        });
        await audit(tx, { reach, keyId: null }, now, 'PROJECT_CREATED', { name: project.name });
        if (apiKey === null || apiKey === 'FULL') throw new Error('A new project must have room for its first key.');
        return { project, apiKey };
      });
      return { ...made, key };
    },
    async update(actor, { name, settings }) {
      const { reach } = actor;
      const changes = { name: name == null ? null : checkName(name), settings: checkSettings(settings) };
      await database.prismaTransaction(async (tx) => {
        await changeProject(tx, reach, changes, clock.now());
        await audit(tx, actor, clock.now(), 'PROJECT_UPDATED', {
          ...(changes.name !== null && { name: changes.name }),
          ...changes.settings,
        });
      });
      await timeouts.reach(reach);
      return get(reach);
    },
  };
}
