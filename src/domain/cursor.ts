/**
 * A cursor holds the kind of its list and a place in that list, as opaque text. By the kind, a cursor of another list is
 * refused.
 */
export function encodeCursor(kind: string, place: unknown): string {
  return Buffer.from(JSON.stringify([kind, place])).toString('base64url');
}

/** The place that a cursor holds. Undefined if the text is not a cursor of this kind. */
export function decodeCursor<Place>(
  kind: string,
  isPlace: (value: unknown) => value is Place,
  cursor: string,
): Place | undefined {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(parts) && parts.length === 2 && parts[0] === kind && isPlace(parts[1])) return parts[1];
  } catch {
    // The text is not a cursor.
  }
  return undefined;
}
