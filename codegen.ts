import type { CodegenConfig } from '@graphql-codegen/cli';

/** Plain types. */
const config = {
  useTypeImports: true,
  enumsAsTypes: true,
  scalars: { DateTime: 'string', JSONObject: 'Record<string, unknown>' },
} as const;

/** Plain types, and documents that know their types. */
const documents = { preset: 'client', presetConfig: { fragmentMasking: false }, config } as const;

/** Makes types for the operations of the tests, the dashboard and the client, from the printed schema: `npm run codegen`. */
const codegen: CodegenConfig = {
  schema: 'schema.graphql',
  emitLegacyCommonJSImports: false,
  generates: {
    'test/generated/': { ...documents, documents: ['test/operations/*.graphql'] },
    'src/dashboard/generated/': { ...documents, documents: ['src/dashboard/operations/*.graphql'] },
    // The client has its operations as texts in its code, so that a page loads no parser and no printer.
    'src/client/generated/operations.ts': {
      documents: ['src/client/*.ts'],
      plugins: ['typescript-operations'],
      config,
    },
  },
};

export default codegen;
