import type { Reach } from '../domain/access.js';
import { SCOPES } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import { uuidAt } from '../domain/event-id.js';
import { ORIGIN } from '../domain/origin.js';
import { DEFAULT_SETTINGS, SETTING_LIMITS, type ProjectSettings } from '../domain/project.js';
import { hashSecret, newApiKey, prefixOf } from '../domain/secret.js';
import { wellFormed } from '../domain/well-formed.js';
import { AppError } from '../errors.js';
import { addKey } from '../store/api-keys.js';
import type { Database } from '../store/database.js';
import type { Project } from '../store/generated/prisma/client.js';
import { audit, type Actor } from './audit.js';
import type { ChangedTimeouts } from './changed-timeouts.js';
import { addProject, changeProject, getProject } from '../store/projects.js';

/** Settings as a caller gives them: undefined and null leave a setting alone, but for retentionDays and rateLimit, which null clears. */
type SettingsInput = { readonly [Name in keyof ProjectSettings]?: ProjectSettings[Name] | null };

export interface Projects {
  get(reach: Reach): Promise<Project>;
  /** For the operator. Answers the project and a first key with every scope. BAD_USER_INPUT names the setting that is wrong. */
  create(input: { name: string; settings?: SettingsInput | null }): Promise<{ project: Project; key: string }>;
  /** Changes what is given; a change of a timeout reaches the first two thousand open sessions before it answers. */
  update(actor: Actor, input: { name?: string | null; settings?: SettingsInput | null }): Promise<Project>;
}

const MOST_ORIGINS = 100;

/** Trimmed, 1 to 100 characters; BAD_USER_INPUT otherwise. */
export function checkName(name: string): string {
  const value = wellFormed(name.trim());
  if (value.length >= 1 && value.length <= 100) return value;
  throw new AppError('BAD_USER_INPUT', 'name has 1 to 100 characters.', { field: 'name' });
}

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
    throw new AppError('BAD_USER_INPUT', `settings.${name} is a whole number from ${min} to ${max}.`, {
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
        ? `settings.allowedOrigins holds at most ${MOST_ORIGINS} origins.`
        : 'settings.allowedOrigins holds origins like https://app.example.com or https://*.example.com, without a path.',
      { field: 'settings.allowedOrigins' },
    );
  }
  return { ...given, allowedOrigins: [...new Set(allowedOrigins.map((origin) => origin.toLowerCase()))] };
}

export function createProjects(deps: {
  database: Database;
  clock: Clock;
  timeouts: Pick<ChangedTimeouts, 'reach'>;
}): Projects {
  const { database, clock, timeouts } = deps;
  async function get(reach: Reach): Promise<Project> {
    const project = await getProject(database, reach);
    if (project) return project;
    throw new AppError('NOT_FOUND', 'There is no such project any more.');
  }

  return {
    get,
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
      const project = await database.transaction(async (tx) => {
        const made = await addProject(tx, wanted);
        await addKey(tx, reach, {
          id: uuidAt(now),
          name: 'First key',
          prefix: prefixOf(key),
          hash: new Uint8Array(hashSecret(key)),
          scopes: [...SCOPES],
          createdAt: now,
        });
        await audit(tx, { reach, keyId: null }, now, 'PROJECT_CREATED', { name: made.name });
        return made;
      });
      return { project, key };
    },
    async update(actor, { name, settings }) {
      const { reach } = actor;
      const changes = { name: name == null ? null : checkName(name), settings: checkSettings(settings) };
      await database.transaction(async (tx) => {
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
