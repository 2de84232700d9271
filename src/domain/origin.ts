/** An origin of pages as a project allows it: scheme, host and port. `*.` before the host stands for any subdomain. */
export const ORIGIN = /^[a-z][a-z0-9+.-]{0,30}:\/\/(\*\.)?[^\s/?#@*,]{1,255}$/i;

function matches(pattern: string, origin: string): boolean {
  const wildcard = pattern.indexOf('//*.');
  if (wildcard === -1) return pattern === origin;
  const scheme = pattern.slice(0, wildcard + 2);
  const parent = pattern.slice(wildcard + 3);
  return origin.startsWith(scheme) && origin.endsWith(parent) && origin.length > scheme.length + parent.length;
}

/**
 * Whether pages of this origin may use the project's keys. `allowed` must be in lower case; an empty list allows any
 * origin.
 */
export const isAllowedOrigin = (origin: string, allowed: readonly string[]): boolean =>
  allowed.length === 0 || allowed.some((pattern) => matches(pattern, origin.toLowerCase()));
