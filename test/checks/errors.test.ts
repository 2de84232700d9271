import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ERROR_STATUS } from '../../src/errors.js';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');

/** The section that readers look into. */
const SECTION = /^## Errors\n([^]*?)\n## /m.exec(read('README.md'))?.[1] ?? '';
/** A row that begins with codes: `CODE`, 400. Those of events have none of HTTP. */
const ROWS = [...SECTION.matchAll(/^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| (\d{3})?/gm)].flatMap(([, codes, status]) =>
  [...codes!.matchAll(/[A-Z_]+/g)].map(([code]) => ({ code, status: status ? Number(status) : null })),
);

/** All of the server, but for the list of codes itself. */
const SOURCES = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !/^dashboard\/|\bgenerated\//.test(file) && file !== 'errors.ts')
  .map((file) => read(`src/${file}`));

test('README.md lists each code of a request with its status, and no other', () => {
  const listed = ROWS.filter(({ status }) => status !== null).map(({ code, status }) => [code, status]);
  expect(listed.toSorted()).toEqual(Object.entries(ERROR_STATUS).toSorted());
});

test('README.md lists each code that an event is answered with, and no other', () => {
  const types = [...read('src/domain/event.ts').matchAll(/^export type (?:Discard|Reject)Code =([^;]+);/gm)];
  const codes = types.flatMap(([, union]) => [...union!.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code!));
  expect(codes.length).toBeGreaterThan(10);
  const listed = ROWS.filter(({ status }) => status === null).map(({ code }) => code);
  expect(listed.toSorted()).toEqual(codes.toSorted());
});

test('each code of the list is in use, and whatever is sent as a code is in the list', () => {
  const unused = Object.keys(ERROR_STATUS).filter((code) => !SOURCES.some((text) => text.includes(`'${code}'`)));
  expect(unused).toEqual([]);
  const sent = SOURCES.flatMap((text) => [...text.matchAll(/(?:AppError\(\s*|\bcode: )'([A-Z_]+)'/g)]).map(
    ([, code]) => code!,
  );
  const ofTheSystem = new Set(['ETIMEDOUT', 'ENODATA']);
  const listed = new Set(ROWS.map(({ code }) => code));
  expect([...new Set(sent)].filter((code) => !listed.has(code) && !ofTheSystem.has(code))).toEqual([]);
});
