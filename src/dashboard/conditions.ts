import type { EventDimension, SessionDimension } from './generated/graphql';

/** Which values of the last 30 days an input offers: those of sessions or of events, counted by a dimension. */
export type Offered = { readonly sessions: SessionDimension } | { readonly events: EventDimension };

/** A condition of a filter as a text, and the change of the address that removes it. */
export interface Condition {
  readonly text: string;
  readonly remove: Changes;
}

/** Parameters of the address to change. null and '' remove a parameter; a list sets it several times. */
export type Changes = Readonly<Record<string, string | readonly string[] | null>>;

/** The conditions of the parameters that are lists of words, named by `lists`. */
export const listConditions = (
  params: URLSearchParams,
  lists: readonly { readonly param: string; readonly name: string }[],
): Condition[] =>
  lists.flatMap(({ param, name }) =>
    params.getAll(param).map((value) => ({ text: `${name}: ${value}`, remove: without(params, param, value) })),
  );

/** The conditions of the parameters that are there once. `texts` says each in words. */
export const singleConditions = (
  params: URLSearchParams,
  texts: Readonly<Record<string, (value: string) => string>>,
): Condition[] =>
  Object.entries(texts).flatMap(([param, text]) => {
    const value = params.get(param);
    return value ? [{ text: text(value), remove: { [param]: null } }] : [];
  });

/** The change that removes one value of a list. */
export const without = (params: URLSearchParams, param: string, value: string): Changes => ({
  [param]: params.getAll(param).filter((one) => one !== value),
});

/** True for yes, false for no, undefined for anything else. */
export const yesNo = (value: string | null): boolean | undefined =>
  value === 'yes' ? true : value === 'no' ? false : undefined;

/** The range of time whose bounds are in the address as `from` and `to`; undefined if there is neither. */
export function timeRange(
  params: URLSearchParams,
  from: string,
  to: string,
): { from?: string; to?: string } | undefined {
  const read = (name: string): string | undefined => {
    const at = new Date(params.get(name) ?? '');
    return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
  };
  const found = { from: read(from), to: read(to) };
  return found.from || found.to ? found : undefined;
}

/** A range of a filter: its two parameters, and what to say if it contains nothing. */
export interface RangeParams {
  readonly low: string;
  readonly high: string;
  readonly isEmpty: (low: string, high: string) => boolean;
  readonly told: string;
}

/** Whether no time is in the range: its end is not in it. */
export const isBackwards = (from: string, to: string): boolean => Date.parse(from) >= Date.parse(to);

/** Why nothing can match the filter in the address, by the parameter that is too large; empty if something can. */
export function conflictsIn(params: URLSearchParams, ranges: readonly RangeParams[]): ReadonlyMap<string, string> {
  const found = ranges.filter(({ low, high, isEmpty }) => {
    const [from, to] = [params.get(low), params.get(high)];
    return from && to && isEmpty(from, to);
  });
  return new Map(found.map(({ high, told }) => [high, told]));
}

/** Whether the address has a condition, and not only an order. */
export const isNarrowed = (params: URLSearchParams): boolean => [...params.keys()].some((name) => name !== 'sort');

/** Parses a text; null if it is not a JSON object. */
export function jsonObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The search of the address with some parameters changed: '' or ?a=b. */
export function withParams(params: URLSearchParams, changes: Changes): string {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) if (one !== '') next.append(name, one);
  }
  const text = next.toString();
  return text ? `?${text}` : '';
}
