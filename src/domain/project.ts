export type SessionStartPolicy = 'RESTART' | 'RESUME';

/** What becomes of events that a bot sends: kept, with their sessions marked; or refused. */
export type BotPolicy = 'MARK' | 'DROP';

/** What a project says of its sessions. Timeouts in seconds, retention in days. */
export interface SessionSettings {
  readonly inactivityTimeout: number;
  readonly presenceTimeout: number;
  readonly sessionStart: SessionStartPolicy;
  readonly retentionDays: number | null;
}

/** What a project says of who may send what: it is read with the caller's key, and holds before anything is queued. */
export interface DoorSettings {
  readonly storeIpAddress: boolean;
  readonly bots: BotPolicy;
  /** The origins whose pages may use the project's keys; empty: any. */
  readonly allowedOrigins: readonly string[];
  /** Points a minute for each key; null: what the server allows. */
  readonly rateLimit: number | null;
}

export type ProjectSettings = SessionSettings & DoorSettings;

export const DEFAULT_SETTINGS: ProjectSettings = {
  inactivityTimeout: 300,
  presenceTimeout: 75,
  sessionStart: 'RESTART',
  retentionDays: null,
  storeIpAddress: true,
  bots: 'MARK',
  allowedOrigins: [],
  rateLimit: null,
};

/** What each number may be; a timeout of a day at most keeps rule 10's three days ahead of every look-back. */
export const SETTING_LIMITS = {
  inactivityTimeout: { min: 10, max: 86_400 },
  presenceTimeout: { min: 2, max: 86_400 },
  retentionDays: { min: 1, max: 36_500 },
  rateLimit: { min: 60, max: 100_000_000 },
} as const;
