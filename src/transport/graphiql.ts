import { renderGraphiQL } from '@graphql-yoga/render-graphiql';
import { introspectionFromSchema, type GraphQLSchema } from 'graphql';

/**
 * GraphiQL keeps the headers beside the queries and the history, and so the key. It is given the tab's own storage for
 * that: a reload keeps it all, and the closed tab nothing.
 */
const KEEP_IN_TAB = `Object.defineProperty(window, 'localStorage', { value: window.sessionStorage });`;

const BEFORE_THE_SCRIPTS = '<script>';

/**
 * The page of GraphiQL, whole: it asks nothing of any other server. It brings the schema along, so that its docs need no
 * key. Its subscriptions are server-sent events, since those carry the headers; a browser's WebSocket has none.
 */
export function graphiqlPage(schema: GraphQLSchema): string {
  const options = {
    title: 'Footsteps',
    subscriptionsProtocol: 'SSE' as const,
    headers: JSON.stringify({ Authorization: 'Bearer YOUR_KEY' }, null, 2),
    defaultQuery: '# Put a key into the headers below, then run this.\n{\n  project {\n    name\n  }\n}\n',
    // An option of GraphiQL's own, which Yoga's types do not name.
    schema: introspectionFromSchema(schema, { inputValueDeprecation: true }),
  };
  const page = renderGraphiQL(options);
  const at = page.indexOf(BEFORE_THE_SCRIPTS) + BEFORE_THE_SCRIPTS.length;
  return `${page.slice(0, at)}${KEEP_IN_TAB}${page.slice(at)}`;
}
