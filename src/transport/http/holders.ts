import { callerReachName, type Caller } from '../../domain/access.js';

/** The most that a narrowed token's users, a key and a project may hold of something. */
export interface MostHeld {
  readonly perUsers: number;
  readonly perKey: number;
  readonly perProject: number;
}

/**
 * Whose holdings are counted for a caller, each by a name, with the most that there may be. So one user cannot take what is there
 * for the others of a key, nor one key what is there for a project.
 */
export function holdersOf(
  caller: Caller,
  { perUsers, perKey, perProject }: MostHeld,
): { readonly name: string; readonly most: number }[] {
  if (caller.kind === 'operator') return [{ name: 'operator', most: perKey }];
  const { keyId, reach } = caller;
  return [
    { name: `project ${reach.projectId}`, most: perProject },
    { name: `key ${keyId}`, most: perKey },
    ...(reach.userIds ? [{ name: `users ${callerReachName(caller)}`, most: perUsers }] : []),
  ];
}
