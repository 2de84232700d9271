import type { IncomingEvent } from '../../domain/event.js';
import { AppError } from '../../errors.js';
import { isObject, translateEvent, translateLine } from './translate-event.js';
import { upgradeError } from './version-1.js';

/** Most events of one request: clients send 50, and on 413 fewer. */
const MOST_EVENTS = 1_000;

/** The version of the interface that a path belongs to. */
export type Version = 1 | 2;

/** The events of a body: JSON (one or an array), or, where it begins with neither { nor [, text, an event a line. */
export function translateBody(
  text: string,
  client: Record<string, unknown>,
  version: Version,
): { events: IncomingEvent[]; misfits: number } {
  const start = text.trimStart()[0];
  if (start !== '{' && start !== '[') {
    const lines = text
      .split(/[\r\n]+/)
      .map((line) => line.trim())
      .filter((line) => line !== '');
    checkCount(lines.length);
    return { events: lines.map((line) => translateLine(line, client)), misfits: 0 };
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 200) : '';
    throw new AppError('BAD_USER_INPUT', `The body is not JSON: ${why}. Nothing was stored.`);
  }
  const posted = Array.isArray(parsed) ? parsed : [parsed];
  checkCount(posted.length);
  const objects = posted.filter(isObject);
  const events = objects.map((one) => translateEvent(version === 1 ? upgradeError(one) : one, client));
  return { events, misfits: posted.length - objects.length };
}

function checkCount(count: number): void {
  if (count <= MOST_EVENTS) return;
  throw new AppError('PAYLOAD_TOO_LARGE', `There are ${count} events; at most ${MOST_EVENTS} are taken at a time.`);
}
