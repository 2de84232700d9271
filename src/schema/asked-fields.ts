import { Kind, type FieldNode, type GraphQLResolveInfo, type SelectionSetNode } from 'graphql';

type Names = ReadonlySet<string>;

/** By field of a document that comes again: worked out once, however often the operation runs. */
const known = new WeakMap<FieldNode, Names>();

/**
 * What a selection selects, fragments opened, each once: spread again it selects the same, and fragments that double
 * would take for ever. Conditions (@skip, @include) are passed over: then it may be more than is asked.
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

function nodeFieldsOf(connection: FieldNode, fragments: GraphQLResolveInfo['fragments']): Names {
  const names = new Set<string>();
  const opened = { connections: new Set<string>(), edges: new Set<string>(), nodes: new Set<string>() };
  const add = (node: FieldNode): void => {
    for (const field of fieldsOf(node.selectionSet, fragments, opened.nodes)) names.add(field.name.value);
  };
  for (const field of fieldsOf(connection.selectionSet, fragments, opened.connections)) {
    if (field.name.value === 'nodes') add(field);
    if (field.name.value !== 'edges') continue;
    for (const inner of fieldsOf(field.selectionSet, fragments, opened.edges)) {
      if (inner.name.value === 'node') add(inner);
    }
  }
  return names;
}

/** The names of the fields that an operation asks of a connection's nodes: nothing else of them need be read. */
export function askedOfNodes({ fieldNodes, fragments }: Pick<GraphQLResolveInfo, 'fieldNodes' | 'fragments'>): Names {
  const [only] = fieldNodes;
  // Fields of one name that stand in several places are one field, which asks for what each of them does.
  if (fieldNodes.length > 1) return new Set(fieldNodes.flatMap((node) => [...nodeFieldsOf(node, fragments)]));
  let names = known.get(only!);
  if (!names) known.set(only!, (names = nodeFieldsOf(only!, fragments)));
  return names;
}
