// npm run bench [-- row …]: measures the product beside what it could be and what people would use instead, in one
// run on one machine. Prints a table and writes bench/results.json.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, startPostgres } from './processes.mjs';
import * as ingest from './rows/ingest.mjs';
import * as presence from './rows/presence.mjs';

/** In the order they run. */
const PARTS = {
  1: ingest.batches,
  2: ingest.singles,
  4: presence.fanOut,
  9: presence.idle,
};

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
/** The median of the rounds' own ratios: a slow moment of the machine falls on both. */
const ratioOf = ({ ours, theirs }) => median(ours.map((value, at) => value / theirs[at]));
const isReached = (row) => (row.smaller ? row.ratio <= row.reach : row.ratio >= row.reach);
const short = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3));

function print(rows) {
  const lines = rows.map((row) => [
    row.row,
    row.work,
    `${short(row.median)} ${row.unit}`,
    row.beside,
    row.theirs ? `${short(row.theirMedian)} ${row.theirUnit ?? row.unit}` : '',
    row.ratio.toFixed(2),
    `${row.smaller ? '≤' : '≥'} ${row.reach}`,
    isReached(row) ? 'yes' : 'NO',
  ]);
  const head = ['row', 'work', 'Footsteps', 'beside', 'there', 'ratio', 'to reach', 'reached'];
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column].length)));
  for (const line of [head, ...lines]) console.log(line.map((cell, column) => cell.padEnd(widths[column])).join('  '));
}

const wanted = process.argv.slice(2).filter((argument) => /^\d+$/.test(argument));
const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const rounds = Number(process.env.BENCH_ROUNDS ?? 3);
const postgres = await startPostgres();
const rows = [];
try {
  for (const [name, part] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const start = performance.now();
    const measured = await part({ postgres, rounds, seconds });
    for (const row of measured) {
      row.median = median(row.ours);
      if (row.theirs) row.theirMedian = median(row.theirs);
      row.ratio ??= ratioOf(row);
      rows.push(row);
      console.error(`row ${row.row}: ${row.ratio.toFixed(2)} (${Math.round((performance.now() - start) / 1_000)} s)`);
    }
  }
} finally {
  await postgres.stop();
}
print(rows);
const folder = path.join(ROOT, 'bench');
mkdirSync(folder, { recursive: true });
writeFileSync(path.join(folder, 'results.json'), `${JSON.stringify({ at: new Date(), node: process.version, rows }, null, 2)}\n`);
