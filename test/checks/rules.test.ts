import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');

/** The numbers of the rules, as src/domain/README.md has them. */
const RULES = [...read('src/domain/README.md').matchAll(/^(\d+)\. /gm)].map(([, number]) => Number(number));

/** The numbers that a text cites: "rule 7", "rules 2, 7 and 8", "rules 28 to 30". */
function citedIn(text: string): number[] {
  // A citation may go on in the next line of a comment.
  const joined = text.replaceAll(/\s+(?:\*|\/\/|--)?\s*/g, ' ');
  return [...joined.matchAll(/\brules? (\d+(?:(?:, | and | or | to |, and )\d+)*)/gi)].flatMap(([, list]) => {
    const numbers = [...list!.matchAll(/( to )?(\d+)/g)];
    return numbers.flatMap(([, isRange, number], at) => {
      const to = Number(number);
      const from = isRange ? Number(numbers[at - 1]![2]) + 1 : to;
      return Array.from({ length: Math.max(0, to - from + 1) }, (_, more) => from + more);
    });
  });
}

const files = ['src', 'test', 'prisma']
  .flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`),
  )
  .filter((file) => /\.(ts|tsx|mjs|sql|prisma|md|graphql)$/.test(file) && !/\b(generated|node_modules)\//.test(file))
  .filter((file) => file !== 'test/checks/rules.test.ts');

/** What the titles of tests cite: the first text after `test(`, `it(`, `describe(` and their like. */
function citedByTests(): Set<number> {
  const titles = files
    .filter((file) => file.endsWith('.test.ts'))
    .flatMap((file) => [
      ...read(file).matchAll(/\b(?:test|it|describe)(?:\.[a-z]+(?:\([^)]*\))?)*\(\s*(['"`])([\s\S]*?)\1/g),
    ]);
  return new Set(titles.flatMap(([, , title]) => citedIn(title!)));
}

test('citations are read in all their forms', () => {
  expect(citedIn('Rule 7; rules 2, 7 and 8; see\n * rules 28 to 30, and rule\n// 12.')).toEqual([
    7, 2, 7, 8, 28, 29, 30, 12,
  ]);
});

test('the rules are numbered from 1, without a gap', () => {
  expect(RULES.length).toBeGreaterThan(0);
  expect(RULES).toEqual(RULES.map((_, at) => at + 1));
});

test('every rule has a test that names it', () => {
  const cited = citedByTests();
  expect(RULES.filter((rule) => !cited.has(rule))).toEqual([]);
});

test('nothing cites a rule that is not there', () => {
  const known = new Set(RULES);
  const wrong = files.flatMap((file) =>
    citedIn(read(file))
      .filter((rule) => !known.has(rule))
      .map((rule) => `${file}: rule ${rule}`),
  );
  expect(wrong).toEqual([]);
});
