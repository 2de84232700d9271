/** Identifies a user, and so the lock of the user's row. */
export interface UserKey {
  readonly projectId: string;
  readonly userId: string;
}

/**
 * A comparator for toSorted(). It sorts users into the order in which their rows are locked: by project, then by user
 * id.
 */
export function inOrderOfLocks(a: UserKey, b: UserKey): number {
  if (a.projectId !== b.projectId) return a.projectId < b.projectId ? -1 : 1;
  return a.userId < b.userId ? -1 : 1;
}

/** Identifies a device, and so the lock of the device's row. */
export interface DeviceKey {
  readonly projectId: string;
  readonly deviceId: string;
}

/** A comparator for toSorted(): the order in which devices are locked, after the users. */
export function inOrderOfDevices(a: DeviceKey, b: DeviceKey): number {
  if (a.projectId !== b.projectId) return a.projectId < b.projectId ? -1 : 1;
  return a.deviceId < b.deviceId ? -1 : 1;
}
