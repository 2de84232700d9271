/** Error documents of clients of version 1 of the interface: one object, with names in PascalCase. */

type Fields = Record<string, unknown>;

/** Whether this is an error document. If not, it is an event of version 2 that was sent to a path of version 1. */
const isDocument = (posted: Fields): boolean => 'OccurrenceDate' in posted || 'StackTrace' in posted;

/** Fields that do not belong to the error itself. */
const MOVED = new Set([
  'Id',
  'ErrorStackId',
  'OrganizationId',
  'ProjectId',
  'OccurrenceDate',
  'Tags',
  'RequestInfo',
  'EnvironmentInfo',
  'ExceptionlessClientInfo',
  'ExtendedData',
  'UserName',
  'UserEmail',
  'UserDescription',
]);

const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '_'}${letter.toLowerCase()}`);

/**
 * Changes the names in an object, at every level, to snake_case. Free data keeps its names. Stack traces have a few levels;
 * 20 are enough.
 */
function renamed(value: unknown, depth = 0): unknown {
  if (depth > 20 || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((one) => renamed(one, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      snakeCase(name),
      /^(ExtendedData|Data)$/.test(name) ? inner : renamed(inner, depth + 1),
    ]),
  );
}

/** An error document as a posted event of version 2. An event of version 2 is returned unchanged. */
export function upgradeError(posted: Fields): Fields {
  if (!isDocument(posted)) return posted;
  const error = Object.fromEntries(Object.entries(posted).filter(([name]) => !MOVED.has(name)));
  const { UserName: name, UserEmail: email, UserDescription: description, ExtendedData: data, Code: code } = posted;
  // Any JSON may stand here: an object may have no text form.
  const isMissingPage = code === '404' || code === 404;
  return {
    type: isMissingPage ? '404' : 'error',
    date: posted['OccurrenceDate'],
    message: posted['Message'],
    tags: posted['Tags'],
    reference_id: posted['Id'],
    data: {
      ...(typeof data === 'object' && data !== null ? data : {}),
      ...(!isMissingPage && { '@error': renamed(error) }),
      ...('RequestInfo' in posted && { '@request': renamed(posted['RequestInfo']) }),
      ...('EnvironmentInfo' in posted && { '@environment': renamed(posted['EnvironmentInfo']) }),
      ...(typeof name === 'string' && { '@user': { identity: name } }),
      ...((email ?? description) !== undefined && {
        '@user_description': { email_address: email, description },
      }),
    },
  };
}
