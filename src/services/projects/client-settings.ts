import type { Reach } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import { wellFormed } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';
import { changeClientSettings, readClientSettings, type ClientSettings } from '../../store/projects/client-settings.js';
import type { PrismaDatabase } from '../../store/database.js';
import { audit, type Actor } from '../access/audit.js';

/** Keys and values that Exceptionless clients fetch from the server while they run. */
export interface ClientSettingsService {
  /** Throws NOT_FOUND if the project no longer exists. */
  read(reach: Reach): Promise<ClientSettings>;
  /**
   * A null value removes the setting. The version grows by one for each changed setting. Throws BAD_USER_INPUT with a
   * message that says what is wrong.
   */
  change(actor: Actor, changes: readonly { key: string; value?: string | null }[]): Promise<void>;
}

/** Limits, because every client holds all settings in memory and in the browser's storage. */
const LIMITS = { settings: 200, key: 200, value: 2_000 };

export function createClientSettings(deps: { database: PrismaDatabase; clock: Clock }): ClientSettingsService {
  const { database, clock } = deps;
  return {
    async read(reach) {
      const settings = await readClientSettings(database, reach);
      if (settings) return settings;
      throw new AppError('NOT_FOUND', 'This project no longer exists.');
    },
    async change(actor, changes) {
      // If a key is named twice, its last value counts.
      const wanted = new Map(changes.map(({ key, value }) => [wellFormed(key.trim()), value ?? null]));
      if (wanted.size === 0)
        throw new AppError('BAD_USER_INPUT', 'settings is empty; it must have at least one setting.', {
          field: 'settings',
        });
      for (const [key, value] of wanted) {
        if (key.length < 1 || key.length > LIMITS.key || (value?.length ?? 0) > LIMITS.value) {
          throw new AppError(
            'BAD_USER_INPUT',
            `A key in settings must have 1 to ${LIMITS.key} characters, and a value at most ${LIMITS.value.toLocaleString('en')}.`,
            { field: 'settings' },
          );
        }
      }
      const set = [...wanted].flatMap(([key, value]): [string, string][] =>
        value === null ? [] : [[key, wellFormed(value)]],
      );
      const removed = [...wanted].filter(([, value]) => value === null).map(([key]) => key);
      await database.prismaTransaction(async (tx) => {
        const count = await changeClientSettings(tx, actor.reach, Object.fromEntries(set), removed);
        if (count <= LIMITS.settings) {
          await audit(tx, actor, clock.now(), 'CLIENT_SETTINGS_CHANGED', { set: Object.fromEntries(set), removed });
          return;
        }
        throw new AppError(
          'BAD_USER_INPUT',
          `The project would have ${count} settings; at most ${LIMITS.settings} are allowed.`,
          { field: 'settings' },
        );
      });
    },
  };
}
