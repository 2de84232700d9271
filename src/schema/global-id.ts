import { decodeGlobalID, encodeGlobalID } from '@pothos/plugin-relay';
import { AppError } from '../errors.js';
import { isUuid } from './paging.js';

export type NodeType = 'Project' | 'ApiKey' | 'Session' | 'Event';

export const toGlobalId = (type: NodeType, id: string): string => encodeGlobalID(type, id);

/** The UUID behind a global id of that type, or a bare UUID. BAD_USER_INPUT, naming the argument, for anything else. */
export function fromGlobalId(type: NodeType, globalId: string, field: string): string {
  if (isUuid(globalId)) return globalId.toLowerCase();
  try {
    const { typename, id } = decodeGlobalID(globalId);
    if (typename === type && isUuid(id)) return id.toLowerCase();
  } catch {
    // Answered below.
  }
  throw new AppError('BAD_USER_INPUT', `${field} is not the id of a ${type}; take it from a ${type}'s id field.`, {
    field,
  });
}
