import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils';
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg';

/**
 * `npm run migration -- name` writes prisma/migrations/<UTC time>_<name>/migration.sql: what leads from the schema.prisma of
 * the last commit to the one that is here. It is a beginning, to be read and completed by hand: what schema.prisma cannot say
 * (partitions, partial indexes, checks, what becomes of the rows that are there) is not in it. Nothing is downloaded, and no
 * database is needed.
 */

const SCHEMA = 'prisma/schema.prisma';

const refuse = async () => {
  throw new Error('There is no database here.');
};

/** The engine wants a database even to compare two texts. All it asks is this. */
const noDatabase = {
  provider: 'postgres',
  adapterName: 'none',
  queryRaw: async () => ({
    columnNames: ['exists', 'version', 'numeric_version'],
    columnTypes: [ColumnTypeEnum.Boolean, ColumnTypeEnum.Text, ColumnTypeEnum.Int32],
    rows: [[true, 'PostgreSQL 14.0', 140000]],
  }),
  executeRaw: refuse,
  executeScript: refuse,
  startTransaction: refuse,
  dispose: async () => {},
};

/** Prisma's engine of migrations, as WebAssembly: the other one is a download. */
async function openEngine(content) {
  const glue = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg');
  const program = readFileSync(glue.replace(/js$/, 'wasm'));
  const { instance } = await WebAssembly.instantiate(program, { './schema_engine_bg.js': engine });
  const { __wbg_set_wasm: setProgram } = engine;
  const { __wbindgen_start: start } = instance.exports;
  setProgram(instance.exports);
  start();
  const connect = async () => noDatabase;
  const factory = { ...noDatabase, connect, connectToShadowDb: connect };
  return engine.SchemaEngine.new(
    { datamodels: [[SCHEMA, content]] },
    () => {},
    bindMigrationAwareSqlAdapterFactory(factory),
  );
}

/** Writes the file and answers null, or answers what is wrong. */
async function writeMigration(name) {
  if (!/^[a-z][a-z0-9_]{0,60}$/.test(name))
    return 'Say in small letters and underscores what it is for: npm run migration -- more_tags';
  const before = execFileSync('git', ['show', `HEAD:${SCHEMA}`], { encoding: 'utf8' });
  const after = readFileSync(SCHEMA, 'utf8');
  const modelOf = (content) => ({ tag: 'schemaDatamodel', files: [{ path: SCHEMA, content }] });
  const { stdout, exitCode } = await (
    await openEngine(after)
  ).diff({
    from: modelOf(before),
    to: modelOf(after),
    script: true,
    exitCode: true,
    shadowDatabaseUrl: null,
    filters: { externalTables: [], externalEnums: [] },
  });
  if (exitCode === 0) return `The tables of ${SCHEMA} are those of the last commit: change it first.`;
  const time = new Date().toISOString().replaceAll(/\D/g, '').slice(0, 14);
  const folder = `prisma/migrations/${time}_${name}`;
  mkdirSync(folder);
  writeFileSync(`${folder}/migration.sql`, stdout);
  console.log(`${folder}/migration.sql is a beginning: read it, and complete it by hand.`);
  return null;
}

const problem = await writeMigration(process.argv[2] ?? '');
if (problem !== null) {
  console.error(problem);
  process.exitCode = 1;
}
