import { setImmediate as nextTurn } from 'node:timers/promises';
import { sharedBy, type Context } from './context.js';

/**
 * The maximum number of rows of one request that one turn of the event loop resolves: about 10 ms. A usual page of sessions
 * with events has fewer.
 */
const ROWS = 1_000;

interface Pace {
  rows: number;
  /** The turn in which rows that are added now are resolved; undefined: the current turn. */
  turn: Promise<void> | undefined;
}

const paces = new WeakMap<object, Pace>();

/**
 * Counts rows of a request. If the request has used up its rows of this turn, the promise waits for the next turn, so that
 * the server answers other requests in between. Undefined: no wait.
 */
export function pace(context: Context, rows: number): Promise<void> | undefined {
  const reads = sharedBy(context);
  let own = paces.get(reads);
  if (!own) paces.set(reads, (own = { rows: 0, turn: undefined }));
  own.rows += rows;
  if (own.rows > ROWS) {
    own.rows = rows;
    const { turn: before } = own;
    own.turn = (async () => {
      await before;
      await nextTurn();
    })();
  }
  return own.turn;
}
