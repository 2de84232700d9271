import {
  getOperationAST,
  GraphQLError,
  parse,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
} from 'graphql';
import { createYoga, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Context, Services } from '../schema/context.js';
import { useCompiledOperations } from './compiled-operations.js';
import { pointsOf } from '../services/rate-limits.js';
import { maskError } from './mask-error.js';
import type { OpenStreams } from './open-streams.js';
import { checkNesting, checkQuerySize, QUERY_LIMITS } from './query-size.js';

/** What a door hands over with each operation: who asks, already authenticated. */
export interface Door {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly requestId: string;
  /** Takes the points of an operation off the caller's limit. Throws RATE_LIMITED. */
  readonly charge: (points: number) => Promise<void>;
  /** An answer that is there already, and has only to be put into words. */
  readonly result?: ExecutionResult | null;
}

/** 1,000 events of 8 kB; anything larger is better sent in several requests. */
export const MOST_BYTES = 8 * 1024 * 1024;

export const bodyTooLarge = (): AppError =>
  new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${MOST_BYTES} bytes; send the events in several requests.`,
  );

/** For pages of any origin, with a credential of their own; no cookie is ever looked at. */
const CORS = {
  origin: '*',
  credentials: false,
  methods: ['GET', 'POST'],
  exposedHeaders: ['X-Request-Id', 'Retry-After', 'RateLimit', 'RateLimit-Policy'],
};

/** The same, on an answer. */
export const CORS_HEADERS = {
  'Access-Control-Allow-Origin': CORS.origin,
  'Access-Control-Expose-Headers': CORS.exposedHeaders.join(', '),
};

function withCode(error: GraphQLError, code: string): void {
  (error.extensions as Record<string, unknown>)['code'] ??= code;
}

const tooLong = (message: string): boolean => message.includes('token limit') || message.includes('tokens');

function parseWithin(source: string, options?: object): DocumentNode {
  try {
    return parse(source, { ...options, maxTokens: QUERY_LIMITS.tokens });
  } catch (error) {
    // The parser recurses, and has no more stack.
    if (error instanceof RangeError) throw new AppError('QUERY_TOO_DEEP', 'The document nests too deep.');
    throw error;
  }
}

/** Holds an operation to the limits, and takes it off the caller's. Answers what it costs. */
export async function admitOperation(args: ExecutionArgs): Promise<number> {
  const operation = getOperationAST(args.document, args.operationName);
  if (!operation) return 0;
  const cost = checkQuerySize(args.schema, args.document, operation, args.variableValues ?? {});
  await (args.contextValue as DoorContext).charge(pointsOf(cost));
  return cost;
}

/** Stable codes for what is wrong with a document; and nothing larger than the limits is run. */
function useChecks(): Plugin<Door, Context> {
  return {
    onParse({ setParseFn }) {
      setParseFn(((source: string, options?: object) => {
        const document = parseWithin(source, options);
        checkNesting(document);
        return document;
      }) as never);
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
    async onExecute({ args }) {
      const requested = await admitOperation(args);
      return {
        onExecuteDone({ result, setResult }) {
          if (Symbol.asyncIterator in result) return;
          const answer = result as ExecutionResult;
          setResult({ ...answer, extensions: { ...answer.extensions, cost: { requested, limit: QUERY_LIMITS.rows } } });
        },
      };
    },
    async onSubscribe({ args }) {
      await admitOperation(args);
    },
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

/** Puts an answer that a door has already into words, instead of running its operation again. */
function useAnswerThatIsThere(): Plugin<Door, Context> {
  return {
    onParams({ context, setResult }) {
      const { result } = context as Partial<Door>;
      if (result) setResult(result);
    },
  };
}

/** Tells callers of errors what they can use, and the log the rest, with the request's id. */
function useMask(observe: Observer, masked: WeakSet<object>): Plugin<Door, Context> {
  function mask<Result extends ExecutionResult>(result: Result, { requestId }: Pick<Door, 'requestId'>): Result {
    if (!result.errors) return result;
    const errors = result.errors.map((error) => maskError(error, requestId, observe));
    for (const error of errors) masked.add(error);
    return { ...result, errors };
  }
  return {
    onExecute: ({ args }) => ({
      onExecuteDone({ result, setResult }) {
        if (!(Symbol.asyncIterator in result)) setResult(mask(result as ExecutionResult, args.contextValue));
      },
    }),
    onSubscribe: ({ args }) => ({
      onSubscribeResult: ({ result, setResult }) => {
        if (!(Symbol.asyncIterator in result)) setResult(mask(result as ExecutionResult, args.contextValue));
        return {
          onNext: (next) => {
            if (next.result) next.setResult(mask(next.result, args.contextValue));
          },
        };
      },
    }),
  };
}

/** A request's context, and how it is charged. */
type DoorContext = Context & Pick<Door, 'charge'>;

export type GraphQLServer = YogaServerInstance<Door, Context>;

/** The GraphQL engine behind every door: schema, context, limits, and errors that tell callers what they can use. */
export function createGraphQL(deps: {
  schema: GraphQLSchema;
  services: Services;
  streams: OpenStreams;
  observe: Observer;
}): GraphQLServer {
  const { schema, services, streams, observe } = deps;
  const masked = new WeakSet<object>();
  return createYoga<Door, Context>({
    schema,
    context: ({ caller, sender, requestId, charge }: Door): DoorContext => ({
      caller,
      sender,
      requestId,
      services,
      charge,
    }),
    plugins: [
      useChecks(),
      useCompiledOperations(),
      useLifetimes(streams),
      useAnswerThatIsThere(),
      useMask(observe, masked),
    ],
    // What no operation is to blame for: documents that do not parse, and the like.
    maskedErrors: {
      maskError: (error) => (masked.has(error as object) ? (error as Error) : maskError(error, 'none', observe)),
    },
    maxRequestBodySize: MOST_BYTES,
    cors: CORS,
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    logging: false,
    parserAndValidationCache: true,
  });
}
