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
  'migration.applied': 'info',
  'partition.created': 'debug',
  statement: 'debug',
  'request.finished': 'debug',
  'request.failed': 'error',
  'batch.committed': 'debug',
  'batch.retried': 'debug',
  'batch.poisoned': 'warn',
  'ingest.refused': 'warn',
  'closer.finished': 'debug',
  'closer.failed': 'error',
  'edges.published': 'debug',
  'bus.connected': 'info',
  'bus.lost': 'warn',
  'bus.publishFailed': 'warn',
  'watcher.opened': 'debug',
  'watcher.closed': 'debug',
  'watcher.resnapshotted': 'debug',
  'task.failed': 'error',
};

/** Writes observations as lines of JSON on standard error. No observation carries a secret. */
export function createLog(level: Config['logLevel']): Observer {
  const options = { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'kind' };
  const logger: Logger = pino(options, pino.destination({ dest: 2, sync: true }));
  return ({ kind, ...facts }) => {
    const { error, ...rest } = facts as { error?: unknown };
    logger[LEVELS[kind]](error === undefined ? rest : { ...rest, err: error }, kind);
  };
}
