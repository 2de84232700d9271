import DataLoader from 'dataloader';
import type { Context } from './context.js';

const loaders = new WeakMap<Context, Map<string, DataLoader<unknown, unknown>>>();

/**
 * The request's own loader of that name: gathers the keys that one turn of execution asks for into one
 * statement. `load` answers a value for each key, in order.
 */
export function loaderOf<Key, Value, CacheKey = Key>(
  context: Context,
  name: string,
  load: (keys: readonly Key[]) => Promise<Value[]>,
  cacheKeyFn?: (key: Key) => CacheKey,
): DataLoader<Key, Value, CacheKey> {
  const own = loaders.get(context) ?? new Map<string, DataLoader<unknown, unknown>>();
  loaders.set(context, own);
  const known = own.get(name);
  if (known) return known as DataLoader<Key, Value, CacheKey>;
  const loader = new DataLoader<Key, Value, CacheKey>(load, cacheKeyFn ? { cacheKeyFn } : {});
  own.set(name, loader);
  return loader;
}
