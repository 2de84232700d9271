export type SessionStartPolicy = 'RESTART' | 'RESUME';

/** What happens to events of bots. MARK: they are stored, and their sessions are marked. DROP: they are rejected. */
export type BotPolicy = 'MARK' | 'DROP';

/** A project's settings for its sessions. Timeouts in seconds, retention in days. */
export interface SessionSettings {
  readonly inactivityTimeout: number;
  readonly presenceTimeout: number;
  readonly sessionStart: SessionStartPolicy;
  readonly retentionDays: number | null;
}

/**
 * A project's settings for incoming requests. The server reads them with the caller's key, and applies them before the
 * queue.
 */
export interface DoorSettings {
  readonly storeIpAddress: boolean;
  readonly bots: BotPolicy;
  /** The origins whose pages may use the project's keys; empty: any origin. */
  readonly allowedOrigins: readonly string[];
  /** Points per minute for each key; null: the server's own limit. */
  readonly rateLimit: number | null;
}

/** A project's settings for its feed of changes. */
interface FeedSettings {
  /** Days that the feed is kept. */
  readonly changeRetentionDays: number;
}

export type ProjectSettings = SessionSettings & DoorSettings & FeedSettings;

export const DEFAULT_SETTINGS: ProjectSettings = {
  inactivityTimeout: 300,
  presenceTimeout: 75,
  sessionStart: 'RESTART',
  retentionDays: null,
  storeIpAddress: true,
  bots: 'MARK',
  allowedOrigins: [],
  rateLimit: null,
  changeRetentionDays: 7,
};

/** The range of each number. A timeout is a day at most, so that no look-back is longer than rule 10's three days. */
export const SETTING_LIMITS = {
  inactivityTimeout: { min: 10, max: 86_400 },
  presenceTimeout: { min: 2, max: 86_400 },
  retentionDays: { min: 1, max: 36_500 },
  rateLimit: { min: 60, max: 100_000_000 },
  changeRetentionDays: { min: 1, max: 30 },
} as const;
