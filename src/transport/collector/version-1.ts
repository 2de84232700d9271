/** Errors as the very old clients (version 1 of the interface) write them: one document, in PascalCase. */

type Fields = Record<string, unknown>;

/** What tells such a document from an event of version 2 that came to a path of version 1. */
const isDocument = (posted: Fields): boolean => 'OccurrenceDate' in posted || 'StackTrace' in posted;

/** Fields that are no part of the error itself. */
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

/** The names of an object and of all in it, but for free data. Stack traces nest a few levels; 20 are plenty. */
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

/** The document as an event of version 2; what is one already stays as it is. */
export function upgradeError(posted: Fields): Fields {
  if (!isDocument(posted)) return posted;
  const error = Object.fromEntries(Object.entries(posted).filter(([name]) => !MOVED.has(name)));
  const { UserName: name, UserEmail: email, UserDescription: description, ExtendedData: data } = posted;
  const isMissingPage = String(posted['Code']) === '404';
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
