import type { Kept } from './kept.js';

/** A tab that has said nothing for this long is gone without a goodbye, or frozen. Browsers let hidden tabs speak once a minute. Milliseconds. */
const GONE = 150_000;
/** The name of a tab's entry: this and its id. */
const TAB = 'tab.';
/** When the user of this browser was last heard, and who that is. */
const HEARD = 'heard';

/**
 * What the tabs of a browser know of each other, through the storage that they share. Reading it takes no time, so a tab that is
 * being closed can still ask whether it is the last. (Web Locks and BroadcastChannel answer later, and keep a page out of the
 * back/forward cache.) Where storage is forbidden, each tab is alone.
 */
export interface Tabs {
  /** Says that this tab is there. `now`: milliseconds since the epoch. */
  here(now: number): void;
  /** Says that this tab leaves. Returns whether it is the last. */
  leave(now: number): boolean;
  /** When any tab last sent something of this user: milliseconds since the epoch; 0 is never, or after `now`. */
  heardAt(who: string, now: number): number;
  /** Notes that something of this user is being sent. At 0 nothing has been: the next heartbeat is due at once. */
  heard(who: string, now: number): void;
  /** Whether it was this tab that was heard last. */
  isLatest(): boolean;
}

export function createTabs(kept: Kept, id: string): Tabs {
  let own = '0 ';
  return {
    here: (now) => kept.set(TAB + id, String(now)),
    leave(now) {
      kept.remove(TAB + id);
      return kept.names(TAB).every((name) => {
        const isGone = !(now - Number(kept.get(name)) < GONE);
        if (isGone) kept.remove(name);
        return isGone;
      });
    },
    heardAt(who, now) {
      const noted = kept.get(HEARD) ?? own;
      const space = noted.indexOf(' ');
      const at = Number(noted.slice(0, space));
      // A clock that was set back would silence it for as long.
      return noted.slice(space + 1) === who && at <= now ? at : 0;
    },
    heard(who, now) {
      own = `${now} ${who}`;
      kept.set(HEARD, own);
    },
    isLatest: () => (kept.get(HEARD) ?? own) === own,
  };
}
