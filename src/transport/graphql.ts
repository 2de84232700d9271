import { getOperationAST, GraphQLError, parse, type ExecutionArgs, type GraphQLSchema } from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import type { Observer } from '../observation.js';
import type { Context, Services } from '../schema/context.js';
import { maskError } from './mask-error.js';
import type { OpenStreams } from './open-streams.js';
import { checkQuerySize, QUERY_LIMITS } from './query-size.js';
import { currentRequestId } from './request-id.js';

/** What a door hands over with each operation: who asks, already authenticated. */
export interface Door {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly requestId: string;
}

/** 1,000 events of 8 kB; anything larger is better sent in several requests. */
export const MOST_BYTES = 8 * 1024 * 1024;

function withCode(error: GraphQLError, code: string): void {
  (error.extensions as Record<string, unknown>)['code'] ??= code;
}

const tooLong = (message: string): boolean => message.includes('token limit') || message.includes('tokens');

/** Stable codes for what is wrong with a document; and nothing larger than the limits is run. */
function useChecks(): Plugin<Door, Context> {
  function check(args: ExecutionArgs): void {
    const operation = getOperationAST(args.document, args.operationName);
    if (operation) checkQuerySize(args.schema, args.document, operation, args.variableValues ?? {});
  }
  return {
    onParse({ setParseFn }) {
      setParseFn(((source: string, options?: object) =>
        parse(source, { ...options, maxTokens: QUERY_LIMITS.tokens })) as never);
      return ({ result }) => {
        if (!(result instanceof GraphQLError)) return;
        withCode(result, tooLong(result.message) ? 'QUERY_TOO_COMPLEX' : 'GRAPHQL_PARSE_FAILED');
      };
    },
    onValidate() {
      return ({ result }) => {
        for (const error of result as readonly GraphQLError[]) withCode(error, 'GRAPHQL_VALIDATION_FAILED');
      };
    },
    onExecute: ({ args }) => check(args),
    onSubscribe: ({ args }) => check(args),
  };
}

/** A subscription over HTTP ends with the caller's right to it; a WebSocket is closed whole, elsewhere. */
function useLifetimes(streams: OpenStreams): Plugin<Door, Context> {
  return {
    onSubscribe({ args }) {
      const { caller } = args.contextValue;
      return {
        onSubscribeResult({ result }) {
          if (!(Symbol.asyncIterator in result)) return undefined;
          const iterator = result as AsyncGenerator;
          const forget = streams.open(caller, () => void iterator.return(undefined));
          return { onEnd: forget };
        },
      };
    },
  };
}

export type GraphQLServer = YogaServerInstance<Door, Context>;

/** The GraphQL engine behind every door: schema, context, limits, and errors that tell callers what they can use. */
export function createGraphQL(deps: {
  schema: GraphQLSchema;
  services: Services;
  streams: OpenStreams;
  observe: Observer;
}): GraphQLServer {
  const { schema, services, streams, observe } = deps;
  return createYoga<Door, Context>({
    schema,
    context: ({ caller, sender, requestId }: Door): Context => ({ caller, sender, requestId, services }),
    plugins: [useChecks(), useLifetimes(streams)],
    maskedErrors: { maskError: (error) => maskError(error, currentRequestId(), observe) },
    maxRequestBodySize: MOST_BYTES,
    cors: {
      origin: '*',
      credentials: false,
      methods: ['GET', 'POST'],
      exposedHeaders: ['X-Request-Id', 'Retry-After'],
    },
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    logging: false,
    parserAndValidationCache: true,
  });
}
