/**
 * Writes a document of operations as text: the small part of graphql's `print` that they need, so that no page loads the whole.
 * (A test holds the two together.) Documents that codegen makes as texts, and those that a parser made, have their text already.
 */
type Node = { readonly kind: string } & Record<string, any>;

const each = (nodes: readonly Node[] | undefined, between: string): string => (nodes ?? []).map(write).join(between);
const wrapped = (before: string, text: string, after: string): string => (text === '' ? '' : before + text + after);

function write(node: Node | undefined): string {
  if (!node) return '';
  const { kind, value, operation, variable, type, typeCondition, defaultValue, alias, selectionSet } = node;
  const name: string = node['name']?.value ?? '';
  const args = (): string => wrapped('(', each(node['arguments'], ','), ')');
  const directives = (): string => wrapped(' ', each(node['directives'], ' '), '');
  switch (kind) {
    case 'Document':
      return each(node['definitions'], '\n');
    case 'OperationDefinition':
      return `${operation} ${name}${wrapped('(', each(node['variableDefinitions'], ','), ')')}${directives()}${write(selectionSet)}`;
    case 'FragmentDefinition':
      return `fragment ${name} on ${write(typeCondition)}${directives()}${write(selectionSet)}`;
    case 'VariableDefinition':
      return `${write(variable)}:${write(type)}${wrapped('=', write(defaultValue), '')}${directives()}`;
    case 'SelectionSet':
      return `{${each(node['selections'], ' ')}}`;
    case 'Field':
      return `${wrapped('', write(alias), ':')}${name}${args()}${directives()}${write(selectionSet)}`;
    case 'FragmentSpread':
      return `...${name}${directives()}`;
    case 'InlineFragment':
      return `...${wrapped(' on ', write(typeCondition), '')}${directives()}${write(selectionSet)}`;
    case 'Argument':
    case 'ObjectField':
      return `${name}:${write(value)}`;
    case 'Directive':
      return `@${name}${args()}`;
    case 'Variable':
      return `$${name}`;
    case 'NamedType':
      return name;
    case 'ListType':
      return `[${write(type)}]`;
    case 'NonNullType':
      return `${write(type)}!`;
    case 'ListValue':
      return `[${each(node['values'], ',')}]`;
    case 'ObjectValue':
      return `{${each(node['fields'], ',')}}`;
    case 'StringValue':
      return JSON.stringify(value);
    case 'NullValue':
      return 'null';
    default:
      // Names, enums, numbers and booleans.
      return String(value);
  }
}

/** A document as text. `document`: a text, an object whose text it is, or the nodes of a parsed document. */
export function textOf(document: unknown): string {
  const { kind, loc } = document as { kind?: string; loc?: { source?: { body: string } } };
  if (kind !== 'Document') return String(document);
  return loc?.source?.body ?? write(document as Node);
}
