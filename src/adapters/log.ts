import { pino, type Logger } from 'pino';
import type { Config } from '../config.js';
import type { Observation, Observer } from '../observation.js';

type Level = 'debug' | 'info' | 'warn' | 'error';

/** The level of each kind. What happens all the time is 'debug'; what an operator must know is 'warn' or 'error'. */
const LEVELS: Record<Observation['kind'], Level> = {
  'server.listening': 'info',
  'server.draining': 'info',
  'server.closed': 'info',
  'database.starting': 'info',
  'database.ready': 'info',
  'database.lost': 'warn',
  'database.full': 'error',
  'migration.applied': 'info',
  'migration.waits': 'warn',
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
  'bus.junk': 'warn',
  'watcher.opened': 'debug',
  'watcher.closed': 'debug',
  'watcher.resnapshotted': 'debug',
  'webhook.sent': 'debug',
  'webhook.disabled': 'warn',
  'task.failed': 'error',
};

/**
 * What the log contains of an error. Drivers attach more to their errors, such as the statement's values or a command's
 * password; that is left out.
 */
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

/** Hides the user and password of every URL, and everything that looks like a key or a token of Footsteps. */
const hideCredentials = (text: string): string =>
  text
    // More than is written, so that no secret is cut in two before it is recognised.
    .slice(0, 2 * LONGEST)
    .replaceAll(/:\/\/[^\s/@]+@/g, '://…@')
    .replaceAll(/\bfs_\w{8,}/g, 'fs_…')
    .replaceAll(/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, 'eyJ…')
    .slice(0, LONGEST);

/** If the log cannot be written at the moment, this many characters are kept. */
const MOST_UNWRITTEN = 1_000_000;

/**
 * The most lines of one kind in a minute. So a client that causes a line again and again cannot fill the disk, and
 * other lines stay readable.
 */
const MOST_LINES = 300;
const WINDOW = 60_000;
/** The most characters of a message or a stack that are written. */
const LONGEST = 4_000;

/**
 * Counts the lines of each kind, and returns whether a line may be written. When a minute is over, `tell` is called
 * with the number of lines that were left out.
 */
function createBrake(
  tell: (kind: Observation['kind'], omitted: number) => void,
): (kind: Observation['kind']) => boolean {
  const lines = new Map<Observation['kind'], number>();
  return (kind) => {
    const count = (lines.get(kind) ?? 0) + 1;
    lines.set(kind, count);
    if (count === 1) {
      setTimeout(() => {
        const omitted = lines.get(kind)! - MOST_LINES;
        lines.delete(kind);
        if (omitted > 0) tell(kind, omitted);
      }, WINDOW).unref();
    }
    return count <= MOST_LINES;
  };
}

/**
 * Writes observations as lines of JSON to standard error, without secrets. At most 300 lines a minute of each kind; all
 * lines of level 'debug'.
 */
export function createLog(level: Config['logLevel']): Observer {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: MOST_UNWRITTEN });
  // The log may become unwritable, as when its terminal is closed or the disk is full. The server goes on then.
  destination.on('error', () => {});
  const options = { level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'kind' };
  const logger: Logger = pino(options, destination);
  const isWanted = createBrake((of, lines) => logger[LEVELS[of]]({ of, lines }, 'log.omitted'));
  return (observation) => {
    const level = LEVELS[observation.kind];
    if (!logger.isLevelEnabled(level) || (level !== 'debug' && !isWanted(observation.kind))) return;
    const { kind, ...facts } = observation;
    const { error, ...rest } = facts as { error?: unknown; message?: string };
    const message = rest.message === undefined ? {} : { message: hideCredentials(rest.message) };
    logger[level]({ ...rest, ...message, ...(error !== undefined && { error: describe(error) }) }, kind);
  };
}
