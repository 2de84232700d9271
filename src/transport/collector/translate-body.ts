import type { IncomingEvent } from '../../domain/event.js';
import { AppError } from '../../errors.js';
import { isObject, translateEvent, translateLine } from './translate-event.js';
import { upgradeError } from './version-1.js';

/** The maximum number of events in one request. Clients send 50, and fewer after a 413. */
const MOST_EVENTS = 1_000;

/**
 * A line without the space before it; blank lines are passed over. The lines are found one by one: a compressed body of 8 kB
 * may hold four million, and to split it took 600 ms.
 */
const LINE = /\S[^\r\n]*/g;

/** The version of the Exceptionless interface that a path belongs to. */
export type Version = 1 | 2;

/**
 * The events of a body. A body that begins with { or [ is JSON: one event or an array. Any other body is text: each line is an
 * event. `misfits`: the number of array elements that are not objects. Throws BAD_USER_INPUT for invalid JSON, and
 * PAYLOAD_TOO_LARGE for more than 1,000 events.
 */
export function translateBody(
  text: string,
  client: Record<string, unknown>,
  version: Version,
): { events: IncomingEvent[]; misfits: number } {
  const start = text.trimStart()[0];
  if (start !== '{' && start !== '[') {
    const events: IncomingEvent[] = [];
    for (const [line] of text.matchAll(LINE)) {
      checkCount(events.length + 1);
      events.push(translateLine(line.trimEnd(), client));
    }
    return { events, misfits: 0 };
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 200) : '';
    throw new AppError('BAD_USER_INPUT', `The body is not valid JSON: ${why}. Nothing was stored.`);
  }
  const posted = Array.isArray(parsed) ? parsed : [parsed];
  checkCount(posted.length);
  const objects = posted.filter(isObject);
  const events = objects.map((one) => translateEvent(version === 1 ? upgradeError(one) : one, client));
  return { events, misfits: posted.length - objects.length };
}

function checkCount(count: number): void {
  if (count <= MOST_EVENTS) return;
  throw new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body has more than ${MOST_EVENTS} events, the most that one request may have. Nothing was stored.`,
  );
}
