import {
  getNamedType,
  Kind,
  OperationTypeNode,
  type ArgumentNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLObjectType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
  isObjectType,
  isInterfaceType,
  valueFromASTUntyped,
  visit,
} from 'graphql';
import { AppError } from '../errors.js';

/** What a query may ask for at most. GraphiQL's introspection is 13 levels deep. */
export const QUERY_LIMITS = { depth: 15, aliases: 100, tokens: 5_000, rows: 20_000, nesting: 300 } as const;

/**
 * Throws QUERY_TOO_DEEP where the document nests deeper than what reads it next can follow: values, types and fragments
 * within each other, of which a field takes two levels and a value within a value two.
 */
export function checkNesting(document: DocumentNode): void {
  let depth = 0;
  visit(document, {
    enter() {
      depth += 1;
      if (depth > QUERY_LIMITS.nesting)
        throw new AppError('QUERY_TOO_DEEP', `The document nests deeper than ${QUERY_LIMITS.nesting} levels.`);
    },
    leave() {
      depth -= 1;
    },
  });
}

interface Size {
  depth: number;
  aliases: number;
  /** Rows and fields that can come of it, by the counts it asks for. */
  rows: number;
}

const NOTHING: Size = { depth: 0, aliases: 0, rows: 0 };
/** What a list gives where neither first nor last says. */
const DEFAULT_ROWS = 20;

/**
 * How large a query is. Each fragment is measured once, however often it is spread, so that measuring takes
 * no longer than reading. `variables` are those of this request.
 */
function measure(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): Size {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const measured = new Map<string, Size>();

  function sizeOf(set: SelectionSetNode, type: GraphQLObjectType | null): Size {
    const total = { ...NOTHING };
    const add = (size: Size): void => {
      total.depth = Math.max(total.depth, size.depth);
      total.aliases += size.aliases;
      total.rows += size.rows;
    };
    for (const selection of set.selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        add(sizeOf(selection.selectionSet, typeNamed(selection.typeCondition?.name.value) ?? type));
        continue;
      }
      if (selection.kind === Kind.FRAGMENT_SPREAD) {
        const name = selection.name.value;
        const known = measured.get(name);
        if (known) {
          add(known);
          continue;
        }
        const fragment = fragments.get(name);
        if (!fragment) continue;
        // A fragment within itself is an error of its own; here it must not run for ever.
        measured.set(name, NOTHING);
        const size = sizeOf(fragment.selectionSet, typeNamed(fragment.typeCondition.name.value));
        measured.set(name, size);
        add(size);
        continue;
      }
      const field = type?.getFields()[selection.name.value];
      const isPage = field?.args.some((arg) => arg.name === 'first') ?? false;
      const inner = field && getNamedType(field.type);
      const child = selection.selectionSet
        ? sizeOf(
            selection.selectionSet,
            isObjectType(inner) || isInterfaceType(inner) ? (inner as GraphQLObjectType) : null,
          )
        : NOTHING;
      add({
        depth: child.depth + 1,
        aliases: child.aliases + (selection.alias ? 1 : 0),
        rows:
          (isPage ? countAsked(selection.arguments) : 0) + child.rows * (isPage ? countAsked(selection.arguments) : 1),
      });
    }
    return total;
  }

  function typeNamed(name: string | undefined): GraphQLObjectType | null {
    const type = name === undefined ? undefined : schema.getType(name);
    return isObjectType(type) ? type : null;
  }

  /** What a variable stands for: where the request gives none, its default. */
  function valueOf(name: string): unknown {
    if (variables[name] !== undefined) return variables[name];
    const defined = operation.variableDefinitions?.find(({ variable }) => variable.name.value === name);
    return defined?.defaultValue && valueFromASTUntyped(defined.defaultValue);
  }

  function countAsked(args: readonly ArgumentNode[] | undefined): number {
    for (const name of ['first', 'last']) {
      const value = args?.find((arg) => arg.name.value === name)?.value;
      if (!value) continue;
      const asked = value.kind === Kind.VARIABLE ? valueOf(value.name.value) : valueFromASTUntyped(value);
      if (typeof asked === 'number' && Number.isFinite(asked)) return Math.max(1, asked);
    }
    return DEFAULT_ROWS;
  }

  const root = schema.getRootType(operation.operation) ?? null;
  return sizeOf(operation.selectionSet, root);
}

/** A subscription goes on delivering. */
const SUBSCRIPTION = 10;

/** Events that the variables or arguments of a mutation carry. */
function eventsIn(operation: OperationDefinitionNode, variables: Readonly<Record<string, unknown>>): number {
  let events = 0;
  for (const field of operation.selectionSet.selections) {
    const value = field.kind === Kind.FIELD && field.arguments?.find((arg) => arg.name.value === 'events')?.value;
    if (!value) continue;
    const given = value.kind === Kind.VARIABLE ? variables[value.name.value] : undefined;
    if (value.kind === Kind.LIST) events += value.values.length;
    else events += Array.isArray(given) ? given.length : 1;
  }
  return events;
}

/**
 * What an operation costs: 1, and 1 for each row it can return and each event it sends; a subscription ten times
 * as much. Throws QUERY_TOO_DEEP, TOO_MANY_ALIASES or QUERY_TOO_COMPLEX, with what was asked and what is allowed.
 */
export function checkQuerySize(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): number {
  const { depth, aliases, rows } = measure(schema, document, operation, variables);
  const { depth: deepest, aliases: most, rows: largest } = QUERY_LIMITS;
  if (depth > deepest)
    throw new AppError('QUERY_TOO_DEEP', `The query is ${depth} levels deep; at most ${deepest} are allowed.`);
  if (aliases > most)
    throw new AppError('TOO_MANY_ALIASES', `The query has ${aliases} aliases; at most ${most} are allowed.`);
  if (rows > largest) {
    throw new AppError(
      'QUERY_TOO_COMPLEX',
      `The query can return ${rows} rows; at most ${largest} are allowed. Ask for fewer with first.`,
    );
  }
  const cost = 1 + rows + (operation.operation === OperationTypeNode.MUTATION ? eventsIn(operation, variables) : 0);
  return operation.operation === OperationTypeNode.SUBSCRIPTION ? cost * SUBSCRIPTION : cost;
}
