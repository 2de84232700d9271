import {
  BREAK,
  createSourceEventStream,
  execute,
  getNamedType,
  getOperationAST,
  getVariableValues,
  GraphQLError,
  GraphQLScalarType,
  GraphQLSchema,
  isEnumType,
  isScalarType,
  isSpecifiedScalarType,
  Kind,
  OperationTypeNode,
  print,
  TypeInfo,
  visit,
  visitWithTypeInfo,
  type ArgumentNode,
  type ASTNode,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type OperationDefinitionNode,
  type VariableDefinitionNode,
  type VariableNode,
} from 'graphql';
import { compileQuery, isCompiledQuery, type CompiledQuery } from 'graphql-jit';
import { QUERY_LIMITS } from './query-size.js';
import { quickVariables } from './quick-variables.js';

/**
 * Number of runs of an operation before it is compiled. Compiling takes about a millisecond, a waste for a query that runs
 * only once.
 */
const RUNS = 2;
/**
 * The maximum number of compiled operations at a time. Without this limit, a client that always sends new operations could
 * fill the memory.
 */
const MOST = 500;

interface Compiled {
  readonly query: CompiledQuery['query'];
  readonly operation: OperationDefinitionNode;
  readonly quick: ReturnType<typeof quickVariables>;
}

/** What came of compiling a text, for all documents with this text. Null: it cannot be compiled. */
interface Shared {
  readonly compiled: Compiled | null;
}

/** How often an operation has run, and its compiled form. Null: it is not compiled. Undefined: not tried yet. */
interface Known {
  runs: number;
  shared?: Shared | null;
}

/** A scalar that takes any value unchanged, for variables that are coerced already. */
const Coerced = new GraphQLScalarType({ name: 'Coerced_', parseValue: (value) => value });
const COERCED = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: Coerced.name } } as const;

/**
 * The document with variables of the scalar Coerced_. graphql-js coerces the variables and fills in their defaults before,
 * because graphql-jit (0.8.9) does it wrongly: it accepts a list as an object, and reports a variable with a default as
 * missing.
 */
const withoutCoercion = (document: DocumentNode): DocumentNode =>
  visit(document, {
    VariableDefinition: (definition): VariableDefinitionNode => ({
      kind: definition.kind,
      variable: definition.variable,
      type: COERCED,
    }),
  });

/**
 * Whether each argument is a whole variable, or a literal of an enum or a standard scalar. graphql-jit reads other forms
 * differently from graphql-js. In `{ order: $o }` it leaves out the variable's value, or puts null in the place of a missing
 * one. For a literal of our own scalars it takes the parsed value (e.g. an invalid Date) as if it were JSON.
 */
function hasPlainArguments(schema: GraphQLSchema, document: DocumentNode): boolean {
  let isPlain = true;
  const info = new TypeInfo(schema);
  const look = {
    Argument({ value }: ArgumentNode) {
      if (value.kind === Kind.VARIABLE) return undefined;
      const type = getNamedType(info.getInputType());
      isPlain = isEnumType(type) || (isScalarType(type) && isSpecifiedScalarType(type));
      return isPlain ? undefined : BREAK;
    },
    Variable(_node: VariableNode, _key: unknown, parent: unknown) {
      const { kind } = parent as Partial<ASTNode>;
      isPlain = kind === Kind.ARGUMENT || kind === Kind.VARIABLE_DEFINITION;
      return isPlain ? undefined : BREAK;
    },
  };
  visit(document, visitWithTypeInfo(info, look));
  return isPlain;
}

/**
 * The document without the arguments of the subscription's root field. They say which events it gets, and have no effect on what is
 * made of an event (subscription-kind.ts). Mostly they are literal objects, with which it could not be compiled.
 */
function withoutRootArguments(document: DocumentNode, operation: OperationDefinitionNode): DocumentNode {
  if (operation.operation !== OperationTypeNode.SUBSCRIPTION) return document;
  const { selectionSet } = operation;
  const selections = selectionSet.selections.map((one) => (one.kind === Kind.FIELD ? { ...one, arguments: [] } : one));
  const bare = { ...operation, selectionSet: { ...selectionSet, selections } };
  return { ...document, definitions: document.definitions.map((one) => (one === operation ? bare : one)) };
}

/** Makes GraphQLErrors of graphql-jit's errors, which lack some of their fields. */
const withWholeErrors = (result: ExecutionResult): ExecutionResult =>
  result.errors
    ? {
        ...result,
        errors: result.errors.map(
          ({ message, path, originalError }) => new GraphQLError(message, { path, originalError }),
        ),
      }
    : result;

/** The interpreter stops at a few errors of the variables. It would look for 50, which took 20 s for 100,000 unknown fields. */
const withFewErrors = (args: ExecutionArgs): ExecutionArgs => ({
  ...args,
  options: { maxCoercionErrors: QUERY_LIMITS.errors },
});

/** The variables as resolvers get them; nothing if there is an error in them. */
function coerce({ schema, variableValues }: ExecutionArgs, { operation, quick }: Compiled) {
  const given = variableValues ?? {};
  const { variableDefinitions = [] } = operation;
  // Whether there is an error is enough here; without the limit 200,000 wrong values took graphql-js 100 s.
  return quick(given) ?? getVariableValues(schema, variableDefinitions, given, { maxErrors: 1 }).coerced;
}

/** Opens the source of a subscription; or returns what is wrong with it, e.g. the first errors of its variables. */
export const openSource = (args: ExecutionArgs): ReturnType<typeof createSourceEventStream> =>
  createSourceEventStream(withFewErrors(args));

type Result = Promise<ExecutionResult> | ExecutionResult;

/**
 * Returns a function that prepares an operation: a query, a mutation, or what a subscription makes of an event. A prepared operation
 * runs any number of times, with the same variables, which are coerced once. An operation that comes again is compiled with
 * graphql-jit: a list of a thousand events then takes a third of the interpreter's time. Only operations are compiled for which a
 * test compares both ways (test/transport/compiled-schema): their arguments are variables or plain literals. The answers are equal,
 * except that errors have no `locations`. An operation with invalid variables goes to the interpreter, which writes the errors.
 * `runs`: the number of runs before an operation is compiled.
 */
export function createPrepareOperation(
  runs = RUNS,
): (args: ExecutionArgs) => (rootValue: unknown, contextValue: unknown) => Result {
  /** The known operations by document, then by the operation's name. */
  const documents = new WeakMap<DocumentNode, Map<string, Known>>();
  /** Each schema, extended with the scalar Coerced_. */
  const schemas = new WeakMap<GraphQLSchema, GraphQLSchema>();
  /**
   * What was compiled and is still used, by the schema, then by the name and the text of what was compiled. So subscriptions with
   * other literals in the arguments of the root field are one of MOST: with a filter for each of 500 clients, nothing else was
   * compiled any more.
   */
  const texts = new WeakMap<GraphQLSchema, Map<string, WeakRef<Shared>>>();
  let alive = 0;
  const forgotten = new FinalizationRegistry<() => void>((forget) => forget());

  function withCoerced(schema: GraphQLSchema): GraphQLSchema {
    let extended = schemas.get(schema);
    if (!extended) {
      const config = schema.toConfig();
      extended = new GraphQLSchema({ ...config, types: [...config.types, Coerced], assumeValid: true });
      schemas.set(schema, extended);
    }
    return extended;
  }

  function compile({ schema, document, operationName }: ExecutionArgs): Shared | null {
    const operation = getOperationAST(document, operationName);
    if (!operation) return null;
    const bare = withoutRootArguments(document, operation);
    if (!hasPlainArguments(schema, bare)) return null;
    let known = texts.get(schema);
    if (!known) texts.set(schema, (known = new Map()));
    const text = `${operationName ?? ''} ${print(bare)}`;
    const before = known.get(text)?.deref();
    if (before) return before;
    if (alive >= MOST) return null;
    const result = compileQuery(withCoerced(schema), withoutCoercion(bare), operationName ?? undefined);
    const compiled = isCompiledQuery(result)
      ? { query: result.query, operation, quick: quickVariables(schema, operation) }
      : null;
    const shared = { compiled };
    known.set(text, new WeakRef(shared));
    alive += 1;
    forgotten.register(shared, () => {
      alive -= 1;
      // The text may have been compiled again meanwhile.
      if (!known.get(text)?.deref()) known.delete(text);
    });
    return shared;
  }

  function compiledFor(args: ExecutionArgs): Compiled | null {
    let operations = documents.get(args.document);
    if (!operations) documents.set(args.document, (operations = new Map()));
    const name = args.operationName ?? '';
    let known = operations.get(name);
    if (!known) operations.set(name, (known = { runs: 0 }));
    known.runs += 1;
    if (known.shared === undefined && known.runs > runs) known.shared = compile(args);
    return known.shared?.compiled ?? null;
  }

  return (args) => {
    let compiled: Compiled | null = null;
    let coerced: Record<string, unknown> | null | undefined = null;
    return (rootValue, contextValue) => {
      if (!compiled) {
        compiled = compiledFor(args);
        coerced = compiled && coerce(args, compiled);
      }
      const result = compiled && coerced && compiled.query(rootValue, contextValue, coerced);
      if (result instanceof Promise) return result.then(withWholeErrors);
      if (result && 'data' in result) return withWholeErrors(result);
      return execute(withFewErrors({ ...args, rootValue, contextValue }));
    };
  };
}

/** Returns a function that runs operations, each once, as createPrepareOperation does. */
export function createRunOperation(runs = RUNS): (args: ExecutionArgs) => Result {
  const prepare = createPrepareOperation(runs);
  return (args) => prepare(args)(args.rootValue, args.contextValue);
}
