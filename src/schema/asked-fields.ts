import { Kind, type FieldNode, type GraphQLResolveInfo, type SelectionSetNode } from 'graphql';

type Names = ReadonlySet<string>;

/**
 * The fields of a selection set, with the fields of its fragments. Each fragment is opened once: a second spread adds
 * no field, and fragments that double each other would take exponential time. The function ignores @skip and @include,
 * so the result can hold more fields than the operation needs.
 */
function* fieldsOf(
  set: SelectionSetNode | undefined,
  fragments: GraphQLResolveInfo['fragments'],
  opened: Set<string>,
): Generator<FieldNode, void> {
  for (const selection of set?.selections ?? []) {
    if (selection.kind === Kind.FIELD) yield selection;
    else if (selection.kind === Kind.INLINE_FRAGMENT) yield* fieldsOf(selection.selectionSet, fragments, opened);
    else if (!opened.has(selection.name.value)) {
      opened.add(selection.name.value);
      yield* fieldsOf(fragments[selection.name.value]?.selectionSet, fragments, opened);
    }
  }
}

type Asking = Pick<GraphQLResolveInfo, 'fieldNodes' | 'fragments'>;

/** The names of the fields that stand at the end of any of these ways down from the fields. */
function namesAt({ fieldNodes, fragments }: Asking, ways: readonly (readonly string[])[]): Names {
  const below = (fields: readonly FieldNode[]): FieldNode[] => {
    const opened = new Set<string>();
    return fields.flatMap(({ selectionSet }) => [...fieldsOf(selectionSet, fragments, opened)]);
  };
  const step = (fields: readonly FieldNode[], name: string): FieldNode[] =>
    below(fields).filter((field) => field.name.value === name);
  return new Set(ways.flatMap((way) => below(way.reduce(step, fieldNodes)).map(({ name }) => name.value)));
}

/** The result for each field of a parsed document, by the way: documents are cached, so an operation that runs often needs one look. */
const known = new WeakMap<FieldNode, Map<string, Names>>();

function askedAt(asking: Asking, ways: readonly (readonly string[])[]): Names {
  const [only, ...others] = asking.fieldNodes;
  // GraphQL merges fields of the same name: the result selects what each of them selects. It is not kept, because another operation
  // of the document may have the first of several alone, in a fragment that they share.
  if (others.length > 0) return namesAt(asking, ways);
  let byWay = known.get(only!);
  if (!byWay) known.set(only!, (byWay = new Map()));
  const name = ways.join(' ');
  let names = byWay.get(name);
  if (!names) byWay.set(name, (names = namesAt(asking, ways)));
  return names;
}

/**
 * The names of the fields that an operation selects of a connection's nodes, or of what stands under these names in them. The store
 * needs to read no other fields.
 */
export const askedOfNodes = (asking: Asking, ...under: readonly string[]): Names =>
  askedAt(asking, [
    ['nodes', ...under],
    ['edges', 'node', ...under],
  ]);

/** The names of the fields that an operation asks of what stands under `name` in this field. */
export const askedUnder = (asking: Asking, name: string): Names => askedAt(asking, [[name]]);
