/** A frame that closes a WebSocket holds at most 125 bytes, two of them the code. */
const MOST_BYTES = 123;

/** The reason of a close as it fits into its frame: ws throws for a longer one. The cut leaves no part of a character. */
export const closeReason = (text: string): string =>
  new TextDecoder().decode(Buffer.from(text).subarray(0, MOST_BYTES), { stream: true });
