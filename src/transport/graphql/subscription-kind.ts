import { createHash, randomUUID } from 'node:crypto';
import {
  getOperationAST,
  Kind,
  print,
  visit,
  type DocumentNode,
  type ExecutionArgs,
  type FragmentDefinitionNode,
  type OperationDefinitionNode,
  type VariableNode,
} from 'graphql';
import { reachName, type Caller } from '../../domain/access.js';
import type { Context } from '../../schema/context.js';

/** What a document selects of an event: a hash of its text, and the variables in it. */
interface Selected {
  readonly text: string;
  readonly variables: readonly string[];
}

const known = new WeakMap<DocumentNode, Map<string, Selected>>();

const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64');

/**
 * The arguments of the root field are left out: they say which events the subscription gets, and have no effect on what is made
 * of an event. So are the operation's name, and everything that does not change the meaning of a text.
 */
function readSelected(document: DocumentNode, operation: OperationDefinitionNode): Selected {
  const root = operation.selectionSet.selections.map((one) =>
    one.kind === Kind.FIELD ? { ...one, arguments: [] } : one,
  );
  const selectionSet = { ...operation.selectionSet, selections: root };
  const { variableDefinitions = [], name: _name, ...unnamed } = operation;
  const fragments = document.definitions.filter(
    (one): one is FragmentDefinitionNode => one.kind === Kind.FRAGMENT_DEFINITION,
  );
  const whole = (definitions: OperationDefinitionNode['variableDefinitions']): DocumentNode => ({
    kind: Kind.DOCUMENT,
    definitions: [{ ...unnamed, selectionSet, variableDefinitions: definitions }, ...fragments],
  });
  const used = new Set<string>();
  visit(whole([]), { Variable: ({ name }: VariableNode) => void used.add(name.value) });
  const definitions = variableDefinitions.filter(({ variable }) => used.has(variable.name.value));
  return { text: hashOf(print(whole(definitions))), variables: [...used].toSorted() };
}

function selectedBy({ document, operationName }: ExecutionArgs): Selected | null {
  const operation = getOperationAST(document, operationName);
  if (!operation) return null;
  let byName = known.get(document);
  if (!byName) known.set(document, (byName = new Map()));
  const name = operation.name?.value ?? '';
  let selected = byName.get(name);
  if (!selected) byName.set(name, (selected = readSelected(document, operation)));
  return selected;
}

/**
 * A text that is the same for two valid subscriptions if they select the same of each event, whichever events they get. If
 * JSON.stringify fails because variables nest too deep, it is a random text; the code that reads the variables reports the error.
 */
export function selectionOf(args: ExecutionArgs): string {
  const selected = selectedBy(args);
  if (!selected) return '';
  const { text, variables } = selected;
  if (variables.length === 0) return text;
  try {
    // A variable that is left out has its default, and null has not. JSON.stringify leaves out an undefined value.
    const values = Object.fromEntries(variables.map((name) => [name, args.variableValues?.[name]]));
    return hashOf(JSON.stringify([text, values]));
  } catch {
    return randomUUID();
  }
}

function rightsOf(caller: Caller): string {
  if (caller.kind === 'operator') return 'operator';
  const { reach, scopes } = caller;
  return `${[...scopes].toSorted().join()} ${reachName(reach)}`;
}

/** A hash of everything that must be the same for subscribers that share the message of an event. */
export const kindOf = (args: ExecutionArgs): string =>
  hashOf(`${selectionOf(args)} ${rightsOf((args.contextValue as Context).caller)}`);
