import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isObjectType,
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLSchema,
} from 'graphql';

/**
 * The maximum number of values in any list of an operation's arguments. transport/graphql/argument-size.ts enforces it for
 * every operation.
 */
export const MOST_IN_LIST = 1_000;

/** Whether the description already states a limit of the list's own. */
const tellsOwn = (description: string): boolean => /\bat most \d|\b1 to \d/i.test(description);

function tell(given: GraphQLArgument | GraphQLInputField): void {
  const description = given.description ?? '';
  // A list of an enum needs no text about its length: nobody has a reason to repeat a value of the enum.
  if (isEnumType(getNamedType(given.type))) return;
  if (isListType(getNullableType(given.type)) && !tellsOwn(description))
    given.description = `${description} At most ${MOST_IN_LIST.toLocaleString('en')}.`.trim();
}

/**
 * Adds the limit to the description of each list argument and list input field, except lists of enums and lists whose
 * description states a limit of their own.
 */
export function tellListLimits(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (isInputObjectType(type)) for (const field of Object.values(type.getFields())) tell(field);
    if (!isObjectType(type) || type.name.startsWith('__')) continue;
    for (const { args } of Object.values(type.getFields())) for (const arg of args) tell(arg);
  }
  return schema;
}
