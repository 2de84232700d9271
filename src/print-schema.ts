import { lexicographicSortSchema, printSchema } from 'graphql';
import { schema } from './schema/schema.js';

/** Prints the schema, sorted, for schema.graphql: `npm run schema` writes it, `npm run check` compares it. */
process.stdout.write(`${printSchema(lexicographicSortSchema(schema))}\n`);
