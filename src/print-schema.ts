import { lexicographicSortSchema, printSchema } from 'graphql';
import { schema } from './schema/schema.js';

/** Prints the sorted schema. `npm run schema` writes it to schema.graphql, and `npm run check` compares it with that file. */
process.stdout.write(`${printSchema(lexicographicSortSchema(schema))}\n`);
