// npm run bench [-- row …]: measures the product beside what it could be and what people would use instead, in one
// run on one machine. Prints a table and writes bench/results.json.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, startPostgres } from './processes.mjs';
import * as ingest from './rows/ingest.mjs';
import * as presence from './rows/presence.mjs';
import * as reads from './rows/reads.mjs';
import * as scale from './rows/scale.mjs';
import * as start from './rows/start.mjs';

/** In the order they run. */
const PARTS = {
  1: ingest.batches,
  2: ingest.singles,
  4: presence.fanOut,
  6: reads.nested,
  8: scale.closing,
  9: presence.idle,
  10: start.cold,
};
/** Takes minutes of storing before it can measure. */
const SCALE = { 7: scale.stored };

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}
/** The median of the rounds' own ratios: a slow moment of the machine falls on both. */
const ratioOf = ({ ours, theirs }) => median(ours.map((value, at) => (theirs ? value / theirs[at] : value)));
const isReached = (row) => (row.smaller ? row.ratio <= row.reach : row.ratio >= row.reach);
const short = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3));

function print(rows) {
  const lines = rows.map((row) => [
    row.row,
    row.work,
    `${short(row.median)} ${row.unit}`,
    row.beside,
    row.theirs ? `${short(row.theirMedian)} ${row.theirUnit ?? row.unit}` : '',
    row.ratio >= 100 ? short(row.ratio) : row.ratio.toFixed(2),
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
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void postgres.stop().then(() => process.exit(1)));
const rows = [];
try {
  for (const [name, part] of Object.entries(process.argv.includes('--scale') ? SCALE : PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const begun = performance.now();
    const measured = await part({ postgres, rounds, seconds });
    for (const row of measured) {
      row.median = median(row.ours);
      if (row.theirs) row.theirMedian = median(row.theirs);
      row.ratio ??= ratioOf(row);
      rows.push(row);
      console.error(`row ${row.row}: ${row.ratio.toFixed(2)} (${Math.round((performance.now() - begun) / 1_000)} s)`);
    }
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
await postgres.stop();
print(rows);
const folder = path.join(ROOT, 'bench');
mkdirSync(folder, { recursive: true });
writeFileSync(path.join(folder, 'results.json'), `${JSON.stringify({ at: new Date(), node: process.version, rows }, null, 2)}\n`);
// Whatever a failed row has left running ends with this process.
process.exit();
