import { toStorableJson } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';
import { MOST_STATE } from '../messages.js';
import type { DeviceStates } from './device-states.js';

/** What a device says about itself. */
interface Told {
  readonly state: Readonly<Record<string, unknown>> | null;
  readonly away: boolean;
}

/** The result of the heartbeat that comes with it. */
interface Beat {
  readonly acknowledged: boolean;
  readonly sessionId: string | null;
}

/**
 * Tells subscribers something about a device, with a heartbeat of its session (rule 18), which `beat` records. Each call
 * replaces what the device said before. Returns the result of `beat`. Throws BAD_USER_INPUT if the state has more than 1,024
 * bytes as JSON or nests deeper than 100 levels; no heartbeat is recorded then. Throws what `beat` throws.
 */
export type SetPresence = <Recorded extends Beat>(
  projectId: string,
  told: Told,
  beat: () => Promise<Recorded>,
) => Promise<Recorded>;

export const createSetPresence =
  (states: Pick<DeviceStates, 'set'>): SetPresence =>
  async (projectId, { state, away }, beat) => {
    const json = state === null ? null : toStorableJson(state);
    const refuse = (what: string): AppError =>
      new AppError('BAD_USER_INPUT', `state ${what}. Send a smaller state. No heartbeat was recorded.`, {
        field: 'state',
      });
    if (state !== null && json === null) throw refuse('is nested too deeply: more than 100 levels');
    if (json !== null && Buffer.byteLength(json) > MOST_STATE)
      throw refuse(`has more than ${MOST_STATE.toLocaleString('en')} bytes as JSON`);
    const beaten = await beat();
    if (beaten.acknowledged && beaten.sessionId !== null)
      states.set(projectId, beaten.sessionId, { state: json, away });
    return beaten;
  };
