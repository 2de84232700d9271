/**
 * The query of a heartbeat. Clients do not encode the id, so it can contain +, & and = as they are. The id is everything
 * between `id=` and the last `&close=`.
 */

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Parameters that old clients send together with the id. */
const BESIDE = /&(access_token|api_key|apikey)=[^&]*/gi;

/**
 * `query` has no question mark. `spellings`: the possible readings of the id, the most likely one first; empty if there is
 * no id.
 */
export function heartbeatOf(query: string): { spellings: string[]; close: boolean } {
  const bare = `&${query}`.replace(BESIDE, '');
  const parameters = new URLSearchParams(bare.slice(1));
  const closeAt = bare.toLowerCase().lastIndexOf('&close=');
  const close = closeAt === -1 ? '' : bare.slice(closeAt + '&close='.length).split('&')[0]!;
  const idAt = bare.toLowerCase().indexOf('&id=');
  const isClose = close.toLowerCase() === 'true';
  if (idAt === -1) return { spellings: [], close: isClose };
  const from = idAt + '&id='.length;
  const raw = bare.slice(from, closeAt > idAt ? closeAt : undefined);
  const form = [...parameters].find(([name]) => name.toLowerCase() === 'id')?.[1] ?? '';
  return { spellings: [decode(raw), form].filter((text) => text.trim() !== ''), close: isClose };
}
