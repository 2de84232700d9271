import type { CodegenConfig } from '@graphql-codegen/cli';

/** What both get: plain types, and documents that know theirs. */
const client = {
  preset: 'client',
  presetConfig: { fragmentMasking: false },
  config: {
    useTypeImports: true,
    enumsAsTypes: true,
    scalars: { DateTime: 'string', JSONObject: 'Record<string, unknown>' },
  },
} as const;

/** Types for the operations of the tests and of the dashboard, from the printed schema: `npm run codegen`. */
const config: CodegenConfig = {
  schema: 'schema.graphql',
  emitLegacyCommonJSImports: false,
  generates: {
    'test/generated/': { ...client, documents: ['test/operations/*.graphql'] },
    'src/dashboard/generated/': { ...client, documents: ['src/dashboard/operations/*.graphql'] },
  },
};

export default config;
