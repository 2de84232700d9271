import { pino, type Logger } from 'pino';
import type { Config } from '../config.js';
import type { Observation, Observer } from '../observation.js';

type Level = 'debug' | 'info' | 'warn' | 'error';

/** What happens all the time is for debugging; what somebody must know of is a warning or an error. */
const LEVELS: Record<Observation['kind'], Level> = {
  'server.listening': 'info',
  'server.draining': 'info',
  'server.closed': 'info',
  'database.starting': 'info',
  'database.ready': 'info',
  'database.lost': 'warn',
  'database.full': 'error',
  'migration.applied': 'info',
  'partition.created': 'debug',
  statement: 'debug',
  'request.finished': 'debug',
  'request.failed': 'error',
  'events.taken': 'debug',
  'batch.committed': 'debug',
  'batch.retried': 'debug',
  'batch.poisoned': 'warn',
  'ingest.refused': 'warn',
  'collector.dropped': 'warn',
  'closer.finished': 'debug',
  'closer.failed': 'error',
  'service.returned': 'info',
  'edges.published': 'debug',
  'messages.delivered': 'debug',
  'bus.connected': 'info',
  'bus.lost': 'warn',
  'bus.publishFailed': 'warn',
  'watcher.opened': 'debug',
  'watcher.closed': 'debug',
  'watcher.resnapshotted': 'debug',
  'task.failed': 'error',
};

/** What of an error goes into a log. Drivers hang more on theirs: the statement's values, the command's password. */
function describe(error: unknown): object {
  if (!(error instanceof Error)) return { message: hideCredentials(String(error)) };
  const { code } = error as { code?: unknown };
  return {
    ...(typeof code === 'string' && { code }),
    message: hideCredentials(error.message),
    stack: hideCredentials(error.stack ?? ''),
    ...(error.cause !== undefined && { cause: describe(error.cause) }),
  };
}

/** The user and password of every URL, and everything that looks like a key or a token of ours. */
const hideCredentials = (text: string): string =>
  text
    .replaceAll(/:\/\/[^\s/@]+@/g, '://…@')
    .replaceAll(/\bfs_\w{8,}/g, 'fs_…')
    .replaceAll(/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, 'eyJ…');

/** Of what cannot be written just now this much is kept, in characters. */
const MOST_UNWRITTEN = 1_000_000;

/** Writes observations as lines of JSON on standard error, without secrets. */
export function createLog(level: Config['logLevel']): Observer {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: MOST_UNWRITTEN });
  // That nobody can read it, as when its terminal is closed or its disk is full, is no reason to end.
  destination.on('error', () => {});
  const options = { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'kind' };
  const logger: Logger = pino(options, destination);
  return (observation) => {
    const level = LEVELS[observation.kind];
    if (!logger.isLevelEnabled(level)) return;
    const { kind, ...facts } = observation;
    const { error, ...rest } = facts as { error?: unknown; message?: string };
    const message = rest.message === undefined ? {} : { message: hideCredentials(rest.message) };
    logger[level]({ ...rest, ...message, ...(error !== undefined && { error: describe(error) }) }, kind);
  };
}
