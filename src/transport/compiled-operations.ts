import {
  BREAK,
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
import { quickVariables } from './quick-variables.js';

/** Runs of an operation before it is compiled: compiling takes about a millisecond, which a query of one time only would waste. */
const RUNS = 2;
/** Compiled operations at most whose documents are still known, so that a stranger's endless new ones cannot fill the memory. */
const MOST = 500;

interface Compiled {
  readonly query: CompiledQuery['query'];
  readonly operation: OperationDefinitionNode;
  readonly quick: ReturnType<typeof quickVariables>;
}

/** How often an operation ran, and what it was compiled to; null: it cannot be. */
interface Known {
  runs: number;
  compiled?: Compiled | null;
}

/** What a variable holds already is what its type makes of it. */
const Coerced = new GraphQLScalarType({ name: 'Coerced_', parseValue: (value) => value });
const COERCED = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: Coerced.name } } as const;

/**
 * The document with variables that are taken as they are. What a variable's value may be, and what is put in where it is left
 * out, is graphql-js' own to say: graphql-jit (0.8.9) takes a list for an object, and a default for missing.
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
 * Whether each argument is a variable as a whole, or a plain value that is written out. graphql-jit reads the other forms
 * differently: `{ order: $o }` without what the variable holds, or with null where it holds nothing, and what our own
 * scalars make of a value that is written out (a time that is none) as if it were JSON.
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

/** graphql-jit's errors lack what every GraphQLError has. */
const withWholeErrors = (result: ExecutionResult): ExecutionResult =>
  result.errors
    ? {
        ...result,
        errors: result.errors.map(
          ({ message, path, originalError }) => new GraphQLError(message, { path, originalError }),
        ),
      }
    : result;

/**
 * Runs queries and mutations, and compiles those that come again (graphql-jit): putting a list of a thousand events together
 * takes a third of what the interpreter takes. Only what is held equal is compiled (test/transport/compiled-schema):
 * the fields and what their resolvers answer, with arguments that are variables or plain. Answers are the same, but that
 * errors bear no `locations`. Variables that do not fit are left to the interpreter, which words what is wrong.
 */
export function createRunOperation(runs = RUNS): (args: ExecutionArgs) => Promise<ExecutionResult> | ExecutionResult {
  /** By document, then by the operation's name. */
  const documents = new WeakMap<DocumentNode, Map<string, Known>>();
  /** Each schema with the scalar above. */
  const schemas = new WeakMap<GraphQLSchema, GraphQLSchema>();
  let alive = 0;
  const forgotten = new FinalizationRegistry<null>(() => (alive -= 1));

  function withCoerced(schema: GraphQLSchema): GraphQLSchema {
    let extended = schemas.get(schema);
    if (!extended) {
      const config = schema.toConfig();
      extended = new GraphQLSchema({ ...config, types: [...config.types, Coerced], assumeValid: true });
      schemas.set(schema, extended);
    }
    return extended;
  }

  function compile({ schema, document, operationName }: ExecutionArgs): Compiled | null {
    const operation = getOperationAST(document, operationName);
    if (!operation || alive >= MOST || !hasPlainArguments(schema, document)) return null;
    alive += 1;
    forgotten.register(document, null);
    const result = compileQuery(withCoerced(schema), withoutCoercion(document), operationName ?? undefined);
    return isCompiledQuery(result)
      ? { query: result.query, operation, quick: quickVariables(schema, operation) }
      : null;
  }

  function compiledFor(args: ExecutionArgs): Compiled | null {
    let operations = documents.get(args.document);
    if (!operations) documents.set(args.document, (operations = new Map()));
    const name = args.operationName ?? '';
    let known = operations.get(name);
    if (!known) operations.set(name, (known = { runs: 0 }));
    known.runs += 1;
    if (known.compiled === undefined && known.runs > runs) known.compiled = compile(args);
    return known.compiled ?? null;
  }

  return (args) => {
    const known = compiledFor(args);
    if (known) {
      const given = args.variableValues ?? {};
      const { variableDefinitions = [] } = known.operation;
      const coerced = known.quick(given) ?? getVariableValues(args.schema, variableDefinitions, given).coerced;
      const result = coerced && known.query(args.rootValue, args.contextValue, coerced);
      if (result instanceof Promise) return result.then(withWholeErrors);
      if (result && 'data' in result) return withWholeErrors(result);
    }
    return execute(args);
  };
}
