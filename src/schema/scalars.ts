import { GraphQLError, GraphQLScalarType, Kind, valueFromASTUntyped, type ValueNode } from 'graphql';

/** RFC 3339. The offset is required: without an offset the text names no instant. */
const INSTANT = /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

const FIRST = Date.parse('0001-01-01T00:00:00.000Z');
const LAST = Date.parse('9999-12-31T23:59:59.999Z');

/** The instant that a text names. Returns an invalid Date for any other text, and for a day such as 30 February. */
function parseInstant(text: unknown): Date {
  const parts = typeof text === 'string' ? INSTANT.exec(text) : null;
  if (!parts) return new Date(Number.NaN);
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const daysInMonth = new Date(Date.UTC(year, month, 0)).getUTCDate();
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > daysInMonth || hour > 23 || minute > 59 || second > 59)
    return new Date(Number.NaN);
  const instant = new Date((text as string).replace(' ', 'T').toUpperCase());
  // The offset can move the instant out of the years 1 to 9999.
  return instant.getTime() >= FIRST && instant.getTime() <= LAST ? instant : new Date(Number.NaN);
}

/**
 * A malformed instant does not fail the whole request: it becomes an invalid Date, and the code that uses the value refuses
 * it. In a list of events, one bad date must not harm the other events (rule 26).
 */
export const DateTime = new GraphQLScalarType<Date, string>({
  name: 'DateTime',
  description:
    'An instant in RFC 3339 with an offset. The server answers in UTC with milliseconds, like 2026-01-31T09:30:00.000Z.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339',
  serialize(value) {
    if (value instanceof Date) return value.toISOString();
    // The store already returns the text (Instant).
    if (typeof value === 'string') return value;
    throw new GraphQLError('A DateTime is written from a Date or a text; the resolver returned neither.');
  },
  parseValue: parseInstant,
  parseLiteral: (node: ValueNode) => parseInstant(node.kind === Kind.STRING ? node.value : null),
});

type Json = Record<string, unknown>;

function asObject(value: unknown): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new GraphQLError('A JSONObject must be a JSON object, like {"plan": "pro"}.');
}

export const JSONObject = new GraphQLScalarType<Json, Json>({
  name: 'JSONObject',
  description: 'Any JSON object.',
  serialize: asObject,
  parseValue: asObject,
  parseLiteral: (node, variables) => asObject(valueFromASTUntyped(node, variables)),
});
