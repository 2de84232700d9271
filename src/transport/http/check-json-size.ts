import { AppError } from '../../errors.js';

/** The JavaScript engine parses this many values in about 200 ms if each has a different name. */
const MOST_VALUES = 200_000;

const [COMMA, BRACKET, BRACE] = [',', '[', '{'].map((mark) => mark.charCodeAt(0));

/**
 * Throws PAYLOAD_TOO_LARGE if a JSON text may hold more than 200,000 values. Parsing more costs too much: 8 MiB of `{},` are
 * 2.7 million objects, a second of the server's time and 300 MB. The function counts commas and opening brackets, because one
 * of them stands before each value except a single one. Those within texts count too: a text may hold JSON that is parsed later.
 */
export function checkJsonSize(text: string): void {
  if (text.length <= MOST_VALUES) return;
  let values = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === COMMA || code === BRACKET || code === BRACE) values += 1;
  }
  if (values <= MOST_VALUES) return;
  throw new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body has more than ${MOST_VALUES.toLocaleString('en')} values, counted as commas and opening brackets. Send the events in several requests.`,
  );
}
