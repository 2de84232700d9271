import {
  astFromValue,
  execute,
  getOperationAST,
  isInputObjectType,
  isListType,
  isNonNullType,
  Kind,
  typeFromAST,
  valueFromASTUntyped,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql';
import { compileQuery, isCompiledQuery, type CompiledQuery } from 'graphql-jit';

/** Runs of an operation before it is compiled: compiling takes about a millisecond, which a query of one time only would waste. */
const RUNS = 2;
/** Compiled operations at most whose documents are still known, so that a stranger's endless new ones cannot fill the memory. */
const MOST = 500;

type Variables = Record<string, unknown>;
/** Puts defaults into a value, in place. */
type Fill = (value: unknown) => void;

interface Compiled {
  readonly query: CompiledQuery['query'];
  readonly fillDefaults: Fill;
}

/** How often an operation ran, and what it was compiled to; null: it cannot be. */
interface Known {
  runs: number;
  compiled?: Compiled | null;
}

/**
 * What the type of a variable gives where a required field with a default is left out, as `close` of a heartbeat and
 * `type` of an event mostly are. graphql-jit (0.8.9) takes those for missing, and the interpreter would have to do the
 * whole work after all.
 */
function fillOf(type: GraphQLInputType, known: Map<GraphQLInputObjectType, Fill>): Fill | null {
  if (isNonNullType(type)) return fillOf(type.ofType, known);
  if (isListType(type)) {
    const fill = fillOf(type.ofType, known);
    // A value that is no list is a list of itself.
    return fill && ((value) => (Array.isArray(value) ? value.forEach(fill) : fill(value)));
  }
  if (!isInputObjectType(type)) return null;
  const found = known.get(type);
  if (found) return found;
  const defaults: [name: string, value: unknown][] = [];
  const inner: [name: string, fill: Fill][] = [];
  const fill: Fill = (value) => {
    if (typeof value !== 'object' || value === null) return;
    const fields = value as Variables;
    for (const [name, given] of defaults) if (!Object.hasOwn(fields, name)) fields[name] = given;
    for (const [name, fillField] of inner) if (fields[name] != null) fillField(fields[name]);
  };
  known.set(type, fill);
  for (const field of Object.values(type.getFields())) {
    const node = astFromValue(field.defaultValue, field.type);
    if (isNonNullType(field.type) && node) defaults.push([field.name, valueFromASTUntyped(node)]);
    const fillField = fillOf(field.type, known);
    if (fillField) inner.push([field.name, fillField]);
  }
  return fill;
}

function fillDefaults(schema: GraphQLSchema, { variableDefinitions = [] }: OperationDefinitionNode): Fill {
  const known = new Map<GraphQLInputObjectType, Fill>();
  const fills = variableDefinitions.map(({ variable, type: node, defaultValue }) => ({
    name: variable.name.value,
    default: node.kind === Kind.NON_NULL_TYPE && defaultValue ? valueFromASTUntyped(defaultValue) : undefined,
    fill: fillOf(typeFromAST(schema, node as never) as GraphQLInputType, known),
  }));
  return (value) => {
    const variables = value as Variables;
    for (const { name, default: given, fill } of fills) {
      if (given !== undefined && !Object.hasOwn(variables, name)) variables[name] = structuredClone(given);
      fill?.(variables[name]);
    }
  };
}

/**
 * Runs queries and mutations, and compiles those that come again (graphql-jit): coercing a hundred input objects and
 * putting a list of a thousand events together take a fraction of what the interpreter takes. Answers are the same, but
 * that errors bear no `locations`. Variables that do not fit are left to the interpreter, which words what is wrong. What
 * they leave out is filled in where they stand, so they must be this request's alone.
 */
export function createRunOperation(runs = RUNS): (args: ExecutionArgs) => Promise<ExecutionResult> | ExecutionResult {
  /** By document, then by the operation's name. */
  const documents = new WeakMap<DocumentNode, Map<string, Known>>();
  let alive = 0;
  const forgotten = new FinalizationRegistry<null>(() => (alive -= 1));

  function compile({ schema, document, operationName }: ExecutionArgs): Compiled | null {
    const operation = getOperationAST(document, operationName);
    if (!operation || alive >= MOST) return null;
    alive += 1;
    forgotten.register(document, null);
    const result = compileQuery(schema, document, operationName ?? undefined);
    return isCompiledQuery(result) ? { query: result.query, fillDefaults: fillDefaults(schema, operation) } : null;
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
      known.fillDefaults(args.variableValues);
      const result = known.query(args.rootValue, args.contextValue, args.variableValues);
      // No data at all: nothing was run.
      if (result instanceof Promise || 'data' in result) return result;
    }
    return execute(args);
  };
}
