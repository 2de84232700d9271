import { page } from './browser.js';

/**
 * What the client keeps between page loads: texts by name, in the storage of the browser, shared by all tabs of the site. Where
 * there is no storage, or it is forbidden or full, nothing is kept, and nothing fails.
 */
export interface Kept {
  get(name: string): string | null;
  set(name: string, value: string): void;
  remove(name: string): void;
  /** The names that begin with `start`. */
  names(start: string): string[];
  /** The name that the storage knows as `key`; '' if it is another program's. */
  nameOf(key: string | null): string;
}

/**
 * `owner` stands before each name, so that the entries of other programs, and of other clients, are left alone. It ends at the
 * first colon, so no owner's entries begin like those of another.
 */
export function createKept(owner: string): Kept {
  const prefix = `${owner.replace(/[%:]/g, encodeURIComponent)}:`;
  /** Browsers throw at the mere mention of a forbidden storage. */
  function attempt<Result>(
    use: (storage: NonNullable<typeof page>['localStorage']) => Result,
    otherwise: Result,
  ): Result {
    try {
      return page ? use(page.localStorage) : otherwise;
    } catch {
      return otherwise;
    }
  }
  return {
    get: (name) => attempt((storage) => storage.getItem(prefix + name), null),
    set: (name, value) => attempt((storage) => storage.setItem(prefix + name, value), undefined),
    remove: (name) => attempt((storage) => storage.removeItem(prefix + name), undefined),
    names: (start) =>
      attempt((storage) => {
        const names: string[] = [];
        for (let at = 0; at < storage.length; at += 1) {
          const key = storage.key(at);
          if (key?.startsWith(prefix + start)) names.push(key.slice(prefix.length));
        }
        return names;
      }, []),
    nameOf: (key) => (key?.startsWith(prefix) ? key.slice(prefix.length) : ''),
  };
}
