import { readFileSync } from 'node:fs';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';
import { expect, test } from 'vitest';

const read = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8');
const released = read('./released.graphql');

/** What breaks operations that were written for `before`, by its path: `Type.field`, `Type.field.argument`. */
async function breakingPaths(before: string, after: string): Promise<string[]> {
  const changes = await diff(buildSchema(before), buildSchema(after));
  const breaking = changes.filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking);
  return [...new Set(breaking.map(({ path, message }) => path ?? message))];
}

/** The part of the changelog about what has not been released yet. */
const [, unreleased = ''] = /^## Unreleased$([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(read('../../CHANGELOG.md')) ?? [];

test('each change since the last release that breaks operations stands in the changelog', async () => {
  const paths = await breakingPaths(released, read('../../schema.graphql'));
  expect(paths.filter((path) => !unreleased.includes(`\`${path}\``))).toEqual([]);
});

test('a breaking change is seen', async () => {
  const changed = released.replace(/^ {2}revokedAt: DateTime$/m, '  revokedOn: DateTime');
  expect(changed).not.toBe(released);
  expect(await breakingPaths(released, changed)).toEqual(['ApiKey.revokedAt']);
});
