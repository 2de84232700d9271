import type { IncomingMessage, ServerResponse } from 'node:http';
import { getOperationAST, OperationTypeNode, type ExecutionArgs, type ExecutionResult } from 'graphql';
import type { Observer } from '../observation.js';
import { bodyTooLarge, CORS_HEADERS, type Door, type GraphQLEngine, type OperationParams } from './graphql.js';
import { maskError } from './mask-error.js';
import { receiveBody } from './receive-body.js';

/**
 * The straight way for what nearly every request is: a query or mutation posted as JSON that goes well. It is
 * opened and executed by the same engine, but neither request nor answer becomes an object of the Fetch
 * standard in between, which costs more than all the rest of a small request. Whatever is out of the ordinary is
 * answered by Yoga as ever: errors, subscriptions, parameters of unusual shape.
 */

/** The answer's media type, for the Accept headers that clients send; null where Yoga must negotiate. */
function mediaType(accept: string | undefined): string | null {
  if (accept === undefined || accept === '*/*' || accept === 'application/json') return 'application/json';
  return accept === 'application/graphql-response+json' ? accept : null;
}

/** Whether the request may take this way, as far as its headers tell. */
export const isPlainPost = ({ method, headers }: IncomingMessage): boolean =>
  method === 'POST' && headers['content-encoding'] === undefined && mediaType(headers.accept) !== null;

const isOptional = (value: unknown, type: string): boolean =>
  value === undefined || value === null || (typeof value === type && !Array.isArray(value));

function paramsIn(text: string): OperationParams | null {
  try {
    const params = JSON.parse(text) as OperationParams & { extensions?: unknown };
    if (typeof params !== 'object' || params === null || typeof params.query !== 'string') return null;
    const { operationName, variables, extensions } = params;
    const isUsual = isOptional(operationName, 'string') && isOptional(variables, 'object') && extensions == null;
    return isUsual ? params : null;
  } catch {
    return null;
  }
}

/** What it runs with; null where it is not a query or mutation that is valid. */
function open(graphql: GraphQLEngine, door: Door, params: OperationParams): ExecutionArgs | null {
  try {
    const opened = graphql.open(door, params);
    if (opened.errors) return null;
    const operation = getOperationAST(opened.args.document, opened.args.operationName);
    return operation && operation.operation !== OperationTypeNode.SUBSCRIPTION ? opened.args : null;
  } catch {
    return null;
  }
}

/** Answers a plain POST, whatever comes of it. */
export async function answerPost(
  graphql: GraphQLEngine,
  request: IncomingMessage,
  response: ServerResponse,
  door: Door,
  observe: Observer,
): Promise<void> {
  const text = (await receiveBody(request, bodyTooLarge)).toString('utf8');
  const params = paramsIn(text);
  let result: ExecutionResult | null = null;
  const args = params && open(graphql, door, params);
  if (args) {
    try {
      result = await graphql.execute(args);
    } catch (error) {
      // Thrown before anything was run: a limit.
      result = { errors: [maskError(error, door.requestId, observe)] };
    }
  }
  const { headers } = request;
  if (result && !result.errors) {
    const json = JSON.stringify(result);
    response.writeHead(200, {
      'Content-Type': `${mediaType(headers.accept)}; charset=utf-8`,
      'Content-Length': Buffer.byteLength(json),
      ...(headers.origin !== undefined && CORS_HEADERS),
    });
    response.end(json);
    return;
  }
  const given: [string, string][] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string' && name !== 'content-length') given.push([name, value]);
  }
  const answer = await graphql.http.fetch(
    `http://localhost${request.url}`,
    { method: 'POST', headers: given, body: text },
    { ...door, result },
  );
  answer.headers.forEach((value: string, name: string) => response.setHeader(name, value));
  const said = await answer.text();
  response.writeHead(answer.status, { 'Content-Length': Buffer.byteLength(said) });
  response.end(said);
}
