import type { IncomingMessage, ServerResponse } from 'node:http';
import { getOperationAST, OperationTypeNode, type ExecutionArgs, type ExecutionResult } from 'graphql';
import type { Observer } from '../../observation.js';
import { CORS_HEADERS, type Door, type GraphQLEngine, type OperationParams } from './graphql.js';
import { maskError } from './mask-error.js';

/**
 * The fast path for nearly every request: a query or mutation that is posted as JSON and succeeds. The same engine opens and
 * executes it, but request and answer do not become objects of the Fetch standard, which costs more than the rest of a small
 * request. Yoga answers all other requests: errors, subscriptions, and parameters of an unusual shape.
 */

/** The media type of the answer for the usual Accept headers. Null: Yoga must negotiate. */
function mediaType(accept: string | undefined): string | null {
  if (accept === undefined || accept === '*/*' || accept === 'application/json') return 'application/json';
  return accept === 'application/graphql-response+json' ? accept : null;
}

/** Whether the headers of the request allow the fast path. */
export const isPlainPost = ({ method, headers }: IncomingMessage): boolean =>
  method === 'POST' && headers['content-encoding'] === undefined && mediaType(headers.accept) !== null;

const isOptional = (value: unknown, type: string): boolean =>
  value === undefined || value === null || (typeof value === type && !Array.isArray(value));

/** The operation in a body; null if the body is not an operation. */
export function paramsIn(text: string): (OperationParams & { readonly extensions?: unknown }) | null {
  try {
    const params = JSON.parse(text) as OperationParams & { extensions?: unknown };
    if (typeof params !== 'object' || params === null || typeof params.query !== 'string') return null;
    const { operationName, variables } = params;
    return isOptional(operationName, 'string') && isOptional(variables, 'object') ? params : null;
  } catch {
    return null;
  }
}

/** The body for Yoga if the answer is known already. Yoga does not run it. */
const ANSWERED = JSON.stringify({ query: '{ __typename }' });

/** Whether the operation is a query or a mutation. Yoga answers any other. */
function isPlain({ document, operationName }: ExecutionArgs): boolean {
  const operation = getOperationAST(document, operationName);
  return operation != null && operation.operation !== OperationTypeNode.SUBSCRIPTION;
}

/** Runs a query or mutation. Returns its result, which can be its errors; null for any other operation. */
async function run(
  graphql: GraphQLEngine,
  door: Door,
  params: OperationParams,
  observe: Observer,
): Promise<ExecutionResult | null> {
  try {
    const { errors, args } = graphql.open(door, params);
    if (errors) return { errors };
    return isPlain(args) ? await graphql.execute(args) : null;
  } catch (error) {
    // The document does not parse, or a limit refuses the operation.
    return { errors: [maskError(error, door.requestId, observe)] };
  }
}

/** Answers a plain POST whose body is `text`. Returns false, without an answer, if Yoga must answer it. */
export async function answerPost(
  graphql: GraphQLEngine,
  request: IncomingMessage,
  response: ServerResponse,
  text: string,
  door: Door,
  observe: Observer,
): Promise<boolean> {
  const params = paramsIn(text);
  const isUsual = params && params.extensions == null;
  const result = isUsual && (await run(graphql, door, params, observe));
  // Yoga answers these, e.g. a subscription.
  if (!result) return false;
  const { headers } = request;
  if (!result.errors) {
    const json = JSON.stringify(result);
    response.writeHead(200, {
      'Content-Type': `${mediaType(headers.accept)}; charset=utf-8`,
      'Content-Length': Buffer.byteLength(json),
      ...(headers.origin !== undefined && CORS_HEADERS),
    });
    response.end(json);
    return true;
  }
  const given: [string, string][] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string' && name !== 'content-length') given.push([name, value]);
  }
  const answer = await graphql.http.fetch(
    `http://localhost${request.url}`,
    { method: 'POST', headers: given, body: ANSWERED },
    { ...door, result },
  );
  answer.headers.forEach((value: string, name: string) => response.setHeader(name, value));
  const said = await answer.text();
  response.writeHead(answer.status, { 'Content-Length': Buffer.byteLength(said) });
  response.end(said);
  return true;
}
