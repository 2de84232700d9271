import DataLoader from 'dataloader';
import { sharedBy, type Context } from './context.js';

/** Reads values, one for each key, in the same order, with the database of this context. */
type Load<Key, Value> = (keys: readonly Key[], context: Context) => Promise<Value[]>;

/** A value that was read, and the context with whose database. */
interface Read<Value> {
  readonly value: Value;
  readonly by: Context;
}

const loaders = new WeakMap<object, Map<string, DataLoader<unknown, Read<unknown>>>>();
/** By context: the contexts whose reads are counted for it. */
const counted = new WeakMap<Context, Set<Context>>();

/** The context for a read of these contexts. If they share it, it has an allowance of its own. */
function readerOf(context: Context): Context {
  if (!context.reads) return context;
  const { services } = context;
  return { ...context, services: { ...services, database: services.database.forShared() } };
}

/**
 * Counts a shared read for a context that uses it, once. So an execution may read as much as if it were alone, and what others
 * have read uses up nothing of it. Throws ANSWER_TOO_LARGE.
 */
function count(context: Context, by: Context): void {
  if (by === context) return;
  const own = counted.get(context) ?? new Set();
  if (own.has(by)) return;
  counted.set(context, own.add(by));
  context.services.database.countAlso(by.services.database);
}

/**
 * Loads the value of a key by the loader of this name: one for each request, or for all contexts that share their reads
 * (`Context.reads`). The loader gathers the keys that one turn of execution asks for, so that one statement reads them all.
 */
export async function loadBy<Key, Value>(
  context: Context,
  name: string,
  key: Key,
  load: Load<Key, Value>,
  cacheKeyFn?: (key: Key) => unknown,
): Promise<Value> {
  const shared = sharedBy(context);
  const own = loaders.get(shared) ?? new Map<string, DataLoader<unknown, Read<unknown>>>();
  loaders.set(shared, own);
  let loader = own.get(name) as DataLoader<Key, Read<Value>, unknown> | undefined;
  if (!loader) {
    loader = new DataLoader<Key, Read<Value>, unknown>(
      async (keys) => {
        const by = readerOf(context);
        return (await load(keys, by)).map((value) => ({ value, by }));
      },
      cacheKeyFn ? { cacheKeyFn } : {},
    );
    own.set(name, loader);
  }
  const { value, by } = await loader.load(key);
  count(context, by);
  return value;
}
