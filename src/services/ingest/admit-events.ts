import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ProjectCaller } from '../../domain/access.js';
import { arrivalOf, checkEvent, checkHeartbeat, type CheckedEvent } from '../../domain/check-event.js';
import type { Clock } from '../../domain/clock.js';
import { eventIds, uuidAt } from '../../domain/event-id.js';
import type { IncomingEvent, Rejection } from '../../domain/event.js';
import { withoutIpAddress } from '../../domain/ip-address.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import type { DoorSettings } from '../../domain/project.js';
import type { Sender } from '../../domain/sender.js';
import { toStorableJson } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';
import { createDescribeClient, isBotEvent } from './describe-client.js';
import { bytesOf } from './event-bytes.js';
import type { Geography } from './geography.js';

/** The most events in one request, as the API promises. */
export const MOST_EVENTS = 1_000;
/**
 * The most characters of a request's events: twice a body. Without this, variables that are named many times have no limit.
 */
const MOST_CHARACTERS = 16_000_000;
/**
 * After so long other work gets its turn. It is a time, because what an event costs does not show in its size: an unknown
 * user agent takes up to a millisecond to parse, and each of a request's events may bring one. Milliseconds.
 */
const TURN = 10;

/** A client's message that it is still here (rule 18). */
export interface Heartbeat {
  readonly sessionKey?: string | null;
  readonly identity?: string | null;
  readonly deviceId?: string | null;
  readonly close: boolean;
}

/** Decides which events are let in, each on its own (rules 10 and 26), and describes their clients. */
export interface AdmitEvents {
  /**
   * One answer for each event, in order: the event as it will be stored, or why it is rejected. Throws TOO_MANY_EVENTS,
   * PAYLOAD_TOO_LARGE and BAD_USER_INPUT, as Ingest.ingestEvents says.
   */
  admit(
    caller: ProjectCaller,
    events: readonly IncomingEvent[],
    sender: Sender,
    sentAt: Date | null,
  ): Promise<(ReadyEvent | Rejection)[]>;
  /** Null: a bot sent it, and the project wants nothing from bots. Throws BAD_USER_INPUT and FORBIDDEN. */
  admitHeartbeat(caller: ProjectCaller, heartbeat: Heartbeat, sender: Sender): ReadyEvent | null;
}

export const isRefused = (event: CheckedEvent | Rejection): event is Rejection => 'code' in event;

/** Rejects what a bot sends, if the project wants nothing from bots. */
const dropBots = ({ bots }: DoorSettings, checked: CheckedEvent | Rejection): CheckedEvent | Rejection =>
  bots === 'DROP' && !isRefused(checked) && isBotEvent(checked)
    ? {
        code: 'BOT',
        message: 'The user agent is that of a bot, and this project accepts no bots (settings.bots is DROP).',
      }
    : checked;

function checkRequest(events: readonly IncomingEvent[], sentAt: Date | null): void {
  if (events.length === 0) {
    throw new AppError('BAD_USER_INPUT', 'events is empty; a request must have 1 to 1,000 events.', {
      field: 'events',
    });
  }
  if (events.length > MOST_EVENTS) {
    throw new AppError(
      'TOO_MANY_EVENTS',
      `events has ${events.length} events; a request must have 1 to 1,000. Nothing was stored.`,
      { field: 'events' },
    );
  }
  if (Number.isNaN(sentAt?.getTime())) {
    throw new AppError(
      'BAD_USER_INPUT',
      'sentAt is not a valid RFC 3339 date and time; write it like 2026-01-31T09:30:00.000Z. Nothing was stored.',
      { field: 'sentAt' },
    );
  }
}

export function createAdmitEvents(deps: { readonly clock: Clock; readonly geography: Geography | null }): AdmitEvents {
  const { clock, geography } = deps;
  const describeClient = createDescribeClient(geography);

  /**
   * The event as it is stored and published: with its client's description, and with addresses only if the project keeps
   * them.
   */
  function ready(
    event: CheckedEvent,
    { storeIpAddress }: DoorSettings,
    newEventId: (at: number) => string,
  ): ReadyEvent {
    const id = newEventId(event.time);
    const attributes = describeClient(event);
    // The event was made for this request, so it can be changed without a copy.
    if (storeIpAddress) return Object.assign(event, { id, attributes });
    const data = event.data && withoutIpAddress(event.data);
    return {
      ...event,
      id,
      json: data ? (toStorableJson(data) ?? '{}') : event.json,
      attributes: { ...attributes, ipAddress: null, data: withoutIpAddress(attributes.data) },
    };
  }

  return {
    async admit({ reach, settings }, events, sender, sentAt) {
      checkRequest(events, sentAt);
      const arrival = arrivalOf(clock.now(), sentAt);
      const newEventId = eventIds();
      const admitted: (ReadyEvent | Rejection)[] = [];
      let taken = 0;
      let turn = performance.now();
      for (const event of events) {
        const one = dropBots(settings, checkEvent(reach, event, sender, arrival));
        admitted.push(isRefused(one) ? one : ready(one, settings, newEventId));
        if (!isRefused(one)) taken += bytesOf(one);
        const characters = Math.max(taken, arrival.spent.characters);
        if (characters > MOST_CHARACTERS) {
          throw new AppError(
            'PAYLOAD_TOO_LARGE',
            `The events have more than ${MOST_CHARACTERS} characters together; send fewer at a time. Nothing was stored.`,
            { field: 'events' },
          );
        }
        if (performance.now() - turn < TURN) continue;
        await nextTurn();
        turn = performance.now();
      }
      return admitted;
    },

    admitHeartbeat({ reach, settings }, heartbeat, sender) {
      const { sessionKey, identity, deviceId } = heartbeat;
      // A session by its key; or a user, a device, or both.
      if ((sessionKey == null) === (identity == null && deviceId == null)) {
        throw new AppError(
          'BAD_USER_INPUT',
          'input must have either sessionKey alone, or identity, deviceId or both of these.',
          { field: 'input' },
        );
      }
      const checked = dropBots(settings, checkHeartbeat(reach, heartbeat, sender, clock.now()));
      if (isRefused(checked)) {
        if (checked.code === 'BOT') return null;
        let field = 'input.deviceId';
        if (sessionKey != null) field = 'input.sessionKey';
        else if (identity != null && checked.code !== 'INVALID_DEVICE_ID') field = 'input.identity';
        if (checked.code === 'FORBIDDEN_IDENTITY') throw new AppError('FORBIDDEN', checked.message, { field });
        throw new AppError('BAD_USER_INPUT', checked.message, { field });
      }
      return ready(checked, settings, uuidAt);
    },
  };
}
