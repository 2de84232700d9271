import { getOperationAST, OperationTypeNode, type DocumentNode, type ExecutionArgs } from 'graphql';
import { compileQuery, isCompiledQuery, type CompiledQuery } from 'graphql-jit';
import type { Plugin } from 'graphql-yoga';
import type { Context } from '../schema/context.js';
import type { Door } from './graphql.js';

/** Runs of an operation before it is compiled: compiling takes about a millisecond, which a query of one time only would waste. */
const RUNS = 2;
/** Operations compiled at most in a process's life, so that a stranger's endless new ones cannot fill its memory. */
const MOST = 500;

/** How often an operation ran, and what it was compiled to; null: it cannot be. */
interface Known {
  runs: number;
  compiled?: CompiledQuery | null;
}

/**
 * Compiles queries and mutations that come again (graphql-jit): coercing a hundred input objects and putting a
 * list of a thousand events together take a fraction of what the interpreter takes. Answers are the same, but that errors
 * bear no `locations`. Variables that do not fit are left to the interpreter, which words what is wrong.
 */
export function useCompiledOperations(runs = RUNS): Plugin<Door, Context> {
  /** By document, which the parser's cache keeps one of, then by the operation's name. */
  const documents = new WeakMap<DocumentNode, Map<string, Known>>();
  let compiled = 0;

  function compile({ schema, document, operationName }: ExecutionArgs): CompiledQuery | null {
    if (compiled >= MOST) return null;
    compiled += 1;
    const result = compileQuery(schema, document, operationName ?? undefined);
    return isCompiledQuery(result) ? result : null;
  }

  function compiledFor(args: ExecutionArgs): CompiledQuery | null {
    const { document, operationName } = args;
    const operation = getOperationAST(document, operationName);
    if (!operation || operation.operation === OperationTypeNode.SUBSCRIPTION) return null;
    let operations = documents.get(document);
    if (!operations) documents.set(document, (operations = new Map()));
    const name = operationName ?? '';
    let known = operations.get(name);
    if (!known) operations.set(name, (known = { runs: 0 }));
    known.runs += 1;
    if (known.compiled === undefined && known.runs > runs) known.compiled = compile(args);
    return known.compiled ?? null;
  }

  return {
    onExecute({ args, executeFn, setExecuteFn }) {
      const query = compiledFor(args)?.query;
      if (!query) return;
      setExecuteFn((given: ExecutionArgs) => {
        const result = query(given.rootValue, given.contextValue, given.variableValues);
        // No data at all: nothing was run.
        const isUnfit = !(result instanceof Promise) && !('data' in result);
        return isUnfit ? (executeFn as (args: ExecutionArgs) => unknown)(given) : result;
      });
    },
  };
}
