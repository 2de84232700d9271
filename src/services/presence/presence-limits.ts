/** The limits of presence subscriptions, for each project on a server. */
export const PRESENCE_LIMITS = {
  /**
   * The most users of one message; more come in parts. 10,000 users take some 100 ms to execute and encode, in turns, and 1 MB
   * to send.
   */
  part: 10_000,
  /**
   * The most edges that an audience keeps for members that have not taken them yet: some 5 MB. A member that is further behind
   * reads from Postgres what has changed.
   */
  kept: 10_000,
  /**
   * The most edges that a member gets one by one when it takes several frames. If there are more, it gets each user's latest.
   */
  told: 1_000,
  /**
   * If more users have changed than this, and than the watcher's last SNAPSHOT held, the watcher gets a new SNAPSHOT: it is
   * shorter.
   */
  changed: 20_000,
  /**
   * How long new watchers of everybody get the same snapshot. The changes since then follow from memory. So the server reads
   * one snapshot in this time for any number of watchers. Milliseconds.
   */
  reuse: 2_000,
  /**
   * The most snapshots of everybody in memory at a time. If slow watchers hold all of them, a new watcher gets the latest one,
   * and then the changes since. A snapshot with its encoded messages takes 1 kB a user: in all 300 MB if 100,000 are online.
   */
  held: 3,
};

export type PresenceLimits = Readonly<typeof PRESENCE_LIMITS>;
