import { Kind, type FieldNode, type GraphQLResolveInfo, type SelectionSetNode } from 'graphql';

type Names = ReadonlySet<string>;

/** The result for each field of a parsed document: documents are cached, so an operation that runs often needs one look. */
const known = new WeakMap<FieldNode, Names>();

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

/** The names of the fields that an operation selects of a connection's nodes. The store needs to read no other fields. */
export function askedOfNodes({ fieldNodes, fragments }: Pick<GraphQLResolveInfo, 'fieldNodes' | 'fragments'>): Names {
  const [only] = fieldNodes;
  // GraphQL merges fields of the same name: the result selects what each of them selects.
  if (fieldNodes.length > 1) return new Set(fieldNodes.flatMap((node) => [...nodeFieldsOf(node, fragments)]));
  let names = known.get(only!);
  if (!names) known.set(only!, (names = nodeFieldsOf(only!, fragments)));
  return names;
}

const knownUnder = new WeakMap<FieldNode, Map<string, Names>>();

/** The names of the fields that an operation asks of what stands under `name` in this field. */
export function askedUnder(
  { fieldNodes, fragments }: Pick<GraphQLResolveInfo, 'fieldNodes' | 'fragments'>,
  name: string,
): Names {
  const [only] = fieldNodes;
  // Another operation of the document may have the first of several alone, in a fragment that they share.
  if (fieldNodes.length > 1) return namesUnder(fieldNodes, fragments, name);
  let byName = knownUnder.get(only!);
  if (!byName) knownUnder.set(only!, (byName = new Map()));
  let names = byName.get(name);
  if (!names) byName.set(name, (names = namesUnder(fieldNodes, fragments, name)));
  return names;
}

function namesUnder(fieldNodes: readonly FieldNode[], fragments: GraphQLResolveInfo['fragments'], name: string): Names {
  const opened = { outer: new Set<string>(), inner: new Set<string>() };
  const found = new Set<string>();
  for (const node of fieldNodes)
    for (const field of fieldsOf(node.selectionSet, fragments, opened.outer))
      if (field.name.value === name)
        for (const inner of fieldsOf(field.selectionSet, fragments, opened.inner)) found.add(inner.name.value);
  return found;
}
