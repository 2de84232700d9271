/**
 * The content codings that a client accepts, by its Accept-Encoding (RFC 9110, 12.5.3). It does not accept a coding with q=0.
 */
export const acceptedCodings = (header: string | string[] | null | undefined): Set<string> =>
  new Set(
    String(header ?? '')
      .toLowerCase()
      .split(',')
      .filter((part) => !/;\s*q=0(\.0*)?\s*$/.test(part))
      .map((part) => part.split(';')[0]!.trim()),
  );
