import {
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  getNamedType,
  Kind,
  OperationTypeNode,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  valueFromASTUntyped,
  visit,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLInterfaceType,
  type GraphQLObjectType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  type ValueNode,
} from 'graphql';
import { AppError } from '../../errors.js';
import { argumentSize } from './argument-size.js';

/**
 * The limits of an operation. GraphiQL's introspection is 13 levels deep. `errors`: the most that are looked for in a
 * document, and again in its variables. To find one can take as long as to check a whole document; and graphql-js writes the
 * value around a wrong one into each error, which may be the whole body.
 */
export const QUERY_LIMITS = {
  depth: 15,
  aliases: 100,
  characters: 524_288,
  tokens: 5_000,
  fields: 1_000,
  alike: 150_000,
  rows: 20_000,
  values: 200_000,
  nesting: 300,
  errors: 3,
} as const;

/**
 * Checks a parsed document before it is validated. Throws QUERY_TOO_DEEP if it is nested more deeply than the validation can
 * follow; a field takes two levels, and so does a value within a value. Throws QUERY_TOO_COMPLEX if it has too many fields,
 * or too many pairs of fields with the same response name, because the validation compares each pair.
 */
export function checkNesting(document: DocumentNode): void {
  let depth = 0;
  let fields = 0;
  let alike = 0;
  const byName = new Map<string, number>();
  visit(document, {
    enter(node) {
      depth += 1;
      if (node.kind === Kind.FIELD) {
        const name = (node.alias ?? node.name).value;
        const before = byName.get(name) ?? 0;
        byName.set(name, before + 1);
        fields += 1;
        alike += before;
      }
      if (fields > QUERY_LIMITS.fields)
        throw new AppError(
          'QUERY_TOO_COMPLEX',
          `The document has too many fields; at most ${QUERY_LIMITS.fields} are allowed.`,
        );
      if (alike > QUERY_LIMITS.alike)
        throw new AppError(
          'QUERY_TOO_COMPLEX',
          `The document has more than ${QUERY_LIMITS.alike} pairs of fields with the same response name. Select each field only once.`,
        );
      if (depth > QUERY_LIMITS.nesting)
        throw new AppError(
          'QUERY_TOO_DEEP',
          `The document is nested too deeply; at most ${QUERY_LIMITS.nesting} levels are allowed.`,
        );
    },
    leave() {
      depth -= 1;
    },
  });
}

interface Size {
  depth: number;
  aliases: number;
  /** The rows that it can read or return, plus the size of its arguments. */
  rows: number;
  /** The values that it can return: each field of each row, under each of its response names. */
  values: number;
  /** How often it selects totalCount of its list, where that needs a statement of its own. */
  counts: number;
}

const NOTHING: Size = { depth: 0, aliases: 0, rows: 0, values: 0, counts: 0 };
/**
 * What the schema's description of itself costs in rows. It is read from memory, but a whole one takes some 60 ms and has
 * 120 kB.
 */
const DESCRIPTION = 1_000;
/** The fields of the query type that every schema has beside its own. */
const DESCRIPTIONS: Readonly<Record<string, GraphQLField<unknown, unknown>>> = {
  [SchemaMetaFieldDef.name]: SchemaMetaFieldDef,
  [TypeMetaFieldDef.name]: TypeMetaFieldDef,
};
/** The rows of a page without first and last, if the field states no default. */
const DEFAULT_ROWS = 20;
/**
 * The cost of totalCount in rows. The count of a whole project reads all rows that match; the count of a session or a user
 * reads fewer.
 */
const COUNT = { ofProject: 1_000, nested: 100 };

type Selected = GraphQLObjectType | GraphQLInterfaceType;
const asSelected = (type: unknown): Selected | null => (isObjectType(type) || isInterfaceType(type) ? type : null);

/**
 * The size of an operation as it will run: with the values of its variables and their defaults, with the fields of its
 * fragments, and without the fields that @skip and @include leave out. Each fragment is measured only once, so that measuring
 * takes no longer than reading. `variables` are the variables of this request.
 */
function measure(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): Size {
  const root = schema.getRootType(operation.operation) ?? null;
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const measured = new Map<string, Size>();
  /** The value of each variable. */
  const given: Record<string, unknown> = {};
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    const { value: name } = variable.name;
    given[name] = variables[name] === undefined && defaultValue ? valueFromASTUntyped(defaultValue) : variables[name];
  }
  /** The size of the arguments so far. Above the limit no further argument is measured. */
  let held = 0;

  const valueOf = (node: ValueNode): unknown => valueFromASTUntyped(node, given);

  /** Whether @skip or @include leaves it out. The engine refuses an invalid condition later. */
  const isLeftOut = ({ directives }: SelectionNode): boolean =>
    directives?.some(({ name, arguments: args }) => {
      const condition = args?.[0] && valueOf(args[0].value);
      return (name.value === 'skip' && condition === true) || (name.value === 'include' && condition === false);
    }) ?? false;

  function rowsAsked(node: FieldNode, field: GraphQLField<unknown, unknown>): number {
    for (const name of ['first', 'last']) {
      const value = node.arguments?.find((arg) => arg.name.value === name)?.value;
      const asked = value && valueOf(value);
      if (typeof asked === 'number' && Number.isFinite(asked)) return Math.max(1, asked);
    }
    const fallback = field.args.find((arg) => arg.name === 'first')?.defaultValue;
    return typeof fallback === 'number' ? fallback : DEFAULT_ROWS;
  }

  function argumentsOf(node: FieldNode, field: GraphQLField<unknown, unknown>): number {
    let size = 0;
    for (const { name, value } of node.arguments ?? []) {
      const type = field.args.find((arg) => arg.name === name.value)?.type;
      if (type) size += argumentSize(type, valueOf(value), name.value, QUERY_LIMITS.rows - held);
      if (held + size > QUERY_LIMITS.rows) tooComplex(`has more than ${QUERY_LIMITS.rows} values in its arguments`);
    }
    held += size;
    return size;
  }

  /**
   * Refuses an alias in introspection, where no list has a limit: each alias would repeat what is below it, and 95 whole
   * descriptions took 5 s. Only __type may have one.
   */
  function checkDescription(node: FieldNode, type: Selected | null): void {
    if (!node.alias || !(node.name.value === SchemaMetaFieldDef.name || (type && isIntrospectionType(type)))) return;
    throw new AppError(
      'TOO_MANY_ALIASES',
      `${node.name.value} is a field of introspection and takes no alias. In introspection only __type does.`,
    );
  }

  function sizeOfField(node: FieldNode, type: Selected | null): Size {
    const { value: name } = node.name;
    checkDescription(node, type);
    const description = type === root ? DESCRIPTIONS[name] : undefined;
    const field = description ?? type?.getFields()[name];
    const child = node.selectionSet
      ? sizeOf(node.selectionSet, asSelected(field && getNamedType(field.type)))
      : NOTHING;
    const own = { depth: child.depth + 1, aliases: child.aliases + (node.alias ? 1 : 0) };
    if (!field) return { ...own, rows: child.rows, values: child.values + 1, counts: 0 };
    const isPage = field.args.some((arg) => arg.name === 'first');
    const asked = isPage ? rowsAsked(node, field) : 0;
    const holds = (field.extensions['holds'] as number | undefined) ?? 1;
    const counted = child.counts * (type === root ? COUNT.ofProject : COUNT.nested);
    const reads = description ? DESCRIPTION : ((field.extensions['reads'] as number | undefined) ?? 0);
    return {
      ...own,
      rows: asked + child.rows * (isPage ? asked : 1) + counted + reads + argumentsOf(node, field),
      values: 1 + child.values * (isPage ? asked : holds),
      counts: (field.extensions['counts'] as number | undefined) ?? (field.name === 'totalCount' ? 1 : 0),
    };
  }

  function sizeOfFragment(name: string): Size {
    const known = measured.get(name);
    const fragment = fragments.get(name);
    if (known || !fragment) return known ?? NOTHING;
    // The validation refuses a fragment within itself. This line only prevents an endless recursion here.
    measured.set(name, NOTHING);
    const size = sizeOf(fragment.selectionSet, asSelected(schema.getType(fragment.typeCondition.name.value)));
    measured.set(name, size);
    return size;
  }

  function sizeOfSelection(selection: SelectionNode, type: Selected | null): Size {
    if (isLeftOut(selection)) return NOTHING;
    if (selection.kind === Kind.FIELD) return sizeOfField(selection, type);
    if (selection.kind === Kind.FRAGMENT_SPREAD) return sizeOfFragment(selection.name.value);
    const condition = selection.typeCondition;
    return sizeOf(selection.selectionSet, condition ? asSelected(schema.getType(condition.name.value)) : type);
  }

  function sizeOf(set: SelectionSetNode, type: Selected | null): Size {
    const total = { ...NOTHING };
    for (const selection of set.selections) {
      const size = sizeOfSelection(selection, type);
      total.depth = Math.max(total.depth, size.depth);
      total.aliases += size.aliases;
      total.rows += size.rows;
      total.values += size.values;
      total.counts += size.counts;
    }
    return total;
  }

  return sizeOf(operation.selectionSet, root);
}

function tooComplex(why: string): never {
  throw new AppError('QUERY_TOO_COMPLEX', `The operation ${why}; at most ${QUERY_LIMITS.rows} are allowed.`);
}

/** The factor for the cost of a subscription, because it delivers again and again. */
const SUBSCRIPTION = 10;

/**
 * The cost of an operation, in rows: 1, plus 1 for each row that it can return, each event that it sends and each value in the
 * lists of its arguments, plus the rows that its figures and counts may read. A subscription costs ten times as much. Throws
 * QUERY_TOO_DEEP, TOO_MANY_ALIASES or QUERY_TOO_COMPLEX, with the size and the limit, and BAD_USER_INPUT for a list with too
 * many values.
 */
export function checkQuerySize(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): number {
  const { depth, aliases, rows, values } = measure(schema, document, operation, variables);
  const { depth: deepest, aliases: most, rows: largest, values: widest } = QUERY_LIMITS;
  if (depth > deepest)
    throw new AppError('QUERY_TOO_DEEP', `The query is ${depth} levels deep; at most ${deepest} are allowed.`);
  if (aliases > most)
    throw new AppError('TOO_MANY_ALIASES', `The query has ${aliases} aliases; at most ${most} are allowed.`);
  if (rows > largest)
    tooComplex(
      `can read, return or send ${rows} rows (to reduce them, set first to a smaller number or send fewer events)`,
    );
  if (values > widest) {
    throw new AppError(
      'QUERY_TOO_COMPLEX',
      `The operation can return ${values} values; at most ${widest} are allowed. Ask for fewer rows or fewer fields.`,
    );
  }
  return operation.operation === OperationTypeNode.SUBSCRIPTION ? (1 + rows) * SUBSCRIPTION : 1 + rows;
}
