export type SessionStartPolicy = 'RESTART' | 'RESUME';

/** A project's settings, as stored. Timeouts in seconds, retention in days. */
export interface ProjectSettings {
  readonly inactivityTimeout: number;
  readonly presenceTimeout: number;
  readonly sessionStart: SessionStartPolicy;
  readonly retentionDays: number | null;
  readonly storeIpAddress: boolean;
}

export const DEFAULT_SETTINGS: ProjectSettings = {
  inactivityTimeout: 300,
  presenceTimeout: 75,
  sessionStart: 'RESTART',
  retentionDays: null,
  storeIpAddress: true,
};

/** What each number may be; a timeout of a day at most keeps rule 10's three days ahead of every look-back. */
export const SETTING_LIMITS = {
  inactivityTimeout: { min: 10, max: 86_400 },
  presenceTimeout: { min: 2, max: 86_400 },
  retentionDays: { min: 1, max: 36_500 },
} as const;
