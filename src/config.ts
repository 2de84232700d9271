import path from 'node:path';
import proxyAddr from 'proxy-addr';
import { z } from 'zod';

/** The settings from the environment, read once. Times are milliseconds. */
export interface Config {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** null: an embedded Postgres in `dataDir`. */
  readonly databaseUrl: string | null;
  readonly dataDir: string;
  /** null: a bus inside this process, for one server. */
  readonly redisUrl: string | null;
  readonly operatorKey: string | null;
  readonly tokenSecret: string | null;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  readonly closerInterval: number;
  /** Proxies whose X-Forwarded-For header is trusted: addresses, ranges, or loopback, linklocal, uniquelocal. */
  readonly trustedProxies: readonly string[];
  /** Points a minute for each key that has no limit of its own, and for each address. 0: no limit. */
  readonly rateLimitPerKey: number;
  readonly rateLimitPerAddress: number;
  /**
   * Sockets and streams that each key, and each address, may have open on this server at the same time. 0: no limit.
   */
  readonly socketsPerKey: number;
  readonly socketsPerAddress: number;
  /** Whether browsers that open /graphql get GraphiQL. */
  readonly graphiql: boolean;
  /** Whether the standard OTEL_* variables ask for traces. */
  readonly traces: boolean;
  /** A file in MaxMind's format. null: the server does not look up places of addresses. */
  readonly geoipDatabase: string | null;
  /** Where webhooks may post: to public addresses alone, or into the operator's own network too. */
  readonly webhooksTo: 'public' | 'private';
}

/** The message lists everything that is wrong with the environment, one line for each variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** Reads '15s', '500ms', '5m': a number and its unit. */
const duration = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+(ms|s|m|h)$/, 'must be a number with a unit, like 15s or 500ms')
    .transform((text) => {
      const [, count, unit] = /^(\d+)(\D+)$/.exec(text)!;
      return Number(count) * UNITS[unit as keyof typeof UNITS];
    })
    .refine(
      (milliseconds) => milliseconds >= min && milliseconds <= max,
      `must be between ${min}ms and ${max / 1000}s`,
    );

const urlOf = (...protocols: readonly string[]) =>
  z
    .string()
    .refine(
      (text) => URL.canParse(text) && protocols.includes(new URL(text).protocol),
      `must be a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    );

const points = z
  .string()
  .regex(/^\d{1,9}$/, 'must be a number of points a minute, or 0 for no limit')
  .transform(Number);

const sockets = z
  .string()
  .regex(/^\d{1,9}$/, 'must be a number of sockets, or 0 for no limit')
  .transform(Number);

function areProxies(list: string[]): boolean {
  try {
    proxyAddr.compile(list);
    return true;
  } catch {
    return false;
  }
}

const variables = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z
    .string()
    .regex(/^\d+$/, 'must be a port, 0 to 65535')
    .transform(Number)
    .refine((port) => port <= 65_535, 'must be a port, 0 to 65535')
    .default(4000),
  DATABASE_URL: urlOf('postgres:', 'postgresql:').optional(),
  DATA_DIR: z.string().default('./data'),
  REDIS_URL: z
    .string()
    .refine(
      (list) => list.split(',').every((part) => /^rediss?:\/\/.+/.test(part.trim())),
      'must be a URL that begins with redis:// or rediss://, or a comma-separated list of them for a Cluster',
    )
    .optional(),
  OPERATOR_KEY: z.string().min(20, 'must have at least 20 characters').optional(),
  TOKEN_SECRET: z.string().min(32, 'must have at least 32 characters').optional(),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'], 'must be trace, debug, info, warn, error or silent')
    .default('info'),
  // The closer also lets presence lapse, so this interval is shorter than closing alone needs.
  CLOSER_INTERVAL: duration(10, 3_600_000).default(1_000),
  TRUSTED_PROXIES: z
    .string()
    .transform((list) => list.split(',').map((part) => part.trim()))
    .refine(
      areProxies,
      'must be a comma-separated list of addresses, ranges like 10.0.0.0/8, or loopback, linklocal, uniquelocal',
    )
    .default([]),
  RATE_LIMIT_PER_KEY: points.default(600_000),
  RATE_LIMIT_PER_ADDRESS: points.default(120_000),
  SOCKETS_PER_KEY: sockets.default(20_000),
  SOCKETS_PER_ADDRESS: sockets.default(20_000),
  GRAPHIQL: z.enum(['on', 'off'], 'must be on or off').default('on'),
  GEOIP_DATABASE: z.string().optional(),
  WEBHOOKS_TO: z.enum(['public', 'private'], 'must be public or private').default('public'),
});

/** The names of all variables, except those of OpenTelemetry (OTEL_*). */
export const VARIABLES: readonly string[] = Object.keys(variables.shape);

const environment = variables.refine(
  ({ DATABASE_URL, OPERATOR_KEY }) => DATABASE_URL === undefined || OPERATOR_KEY !== undefined,
  {
    path: ['OPERATOR_KEY'],
    message: 'must be set when DATABASE_URL is set: it is a secret that you choose, and it lets you create projects',
  },
);

/** Whether the standard OTEL_* variables of OpenTelemetry ask for traces. */
const wantsTraces = (env: Readonly<Record<string, string | undefined>>): boolean =>
  env['OTEL_SDK_DISABLED'] !== 'true' &&
  env['OTEL_TRACES_EXPORTER'] !== 'none' &&
  (env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']) !== undefined;

/** Reads the environment. An empty variable counts as unset. Throws one ConfigError that names every mistake. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const { success, data, error } = environment.safeParse(given);
  if (!success) {
    const lines = error.issues.map((issue) => `  ${issue.path.join('.')} ${issue.message}.`);
    throw new ConfigError(`The environment has wrong or missing variables:\n${[...new Set(lines)].join('\n')}`);
  }
  return Object.freeze({
    host: data.HOST,
    port: data.PORT,
    databaseUrl: data.DATABASE_URL ?? null,
    dataDir: path.resolve(data.DATA_DIR),
    redisUrl: data.REDIS_URL ?? null,
    operatorKey: data.OPERATOR_KEY ?? null,
    tokenSecret: data.TOKEN_SECRET ?? null,
    logLevel: data.LOG_LEVEL,
    closerInterval: data.CLOSER_INTERVAL,
    trustedProxies: data.TRUSTED_PROXIES,
    rateLimitPerKey: data.RATE_LIMIT_PER_KEY,
    rateLimitPerAddress: data.RATE_LIMIT_PER_ADDRESS,
    socketsPerKey: data.SOCKETS_PER_KEY,
    socketsPerAddress: data.SOCKETS_PER_ADDRESS,
    graphiql: data.GRAPHIQL === 'on',
    traces: wantsTraces(given),
    geoipDatabase: data.GEOIP_DATABASE === undefined ? null : path.resolve(data.GEOIP_DATABASE),
    webhooksTo: data.WEBHOOKS_TO,
  });
}
