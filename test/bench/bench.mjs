// npm run bench [-- row …]: measures the product and its comparators (README.md) in one run on one machine. Prints a
// table and writes bench/results.json. Further parts: -- presence, -- feed, -- churn [minutes], -- --scale.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, startPostgres } from './processes.mjs';
import { churn } from './rows/churn.mjs';
import * as crowdBegins from './rows/crowd-begins.mjs';
import * as crowdEdges from './rows/crowd-edges.mjs';
import * as crowdFaults from './rows/crowd-faults.mjs';
import * as feed from './rows/feed.mjs';
import * as ingest from './rows/ingest.mjs';
import * as presence from './rows/presence.mjs';
import * as reads from './rows/reads.mjs';
import * as scale from './rows/scale.mjs';
import * as start from './rows/start.mjs';

/** The rows, in the order in which they run. */
const PARTS = {
  1: ingest.batches,
  2: ingest.singles,
  4: presence.fanOut,
  6: reads.nested,
  8: scale.closing,
  9: presence.idle,
  10: start.cold,
};
/** Stores events for minutes before it can measure. */
const SCALE = { 7: scale.stored };
/** Presence of many. Each asks for the whole machine for a minute, so they run by themselves: presence, or by name. */
const PRESENCE = {
  P1: crowdBegins.beginAtOnce,
  P2: crowdBegins.comeWithinTwoSeconds,
  P3: crowdEdges.toEverybody,
  P4: crowdEdges.toSome,
  P5: crowdBegins.comeBack,
  P6: crowdFaults.onASlowLine,
  P7: crowdFaults.redisRestarts,
};
/** The feed of changes; needs a redis-server. */
const FEED = { F1: feed.live, F2: feed.replay };

const words = process.argv.slice(2);
/** The parts that are asked for, by name. */
function wanted() {
  if (words[0] === 'churn') return { churn: ({ postgres }) => churn({ postgres, minutes: Number(words[1] ?? 60) }) };
  if (words.includes('--scale')) return SCALE;
  if (words.includes('presence')) return PRESENCE;
  if (words.includes('feed')) return FEED;
  if (words.length === 0) return PARTS;
  return Object.fromEntries(Object.entries({ ...PARTS, ...PRESENCE, ...FEED }).filter(([name]) => words.includes(name)));
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}
/** The median of the ratios of the rounds: a slow moment of the machine affects both sides. */
const ratioOf = ({ ours, theirs }) => median(ours.map((value, at) => (theirs ? value / theirs[at] : value)));
const isReached = (row) => (row.smaller ? row.ratio <= row.reach : row.ratio >= row.reach);
const short = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3));
/** Some figures only explain another: they have no goal. */
const hasGoal = ({ reach }) => reach !== null;

function print(rows) {
  const lines = rows.map((row) => [
    row.row,
    row.work,
    `${short(row.median)} ${row.unit}`,
    row.beside,
    row.theirs ? `${short(row.theirMedian)} ${row.theirUnit ?? row.unit}` : '',
    row.ratio >= 100 ? short(row.ratio) : row.ratio.toFixed(2),
    hasGoal(row) ? `${row.smaller ? '≤' : '≥'} ${row.reach}` : '',
    hasGoal(row) ? (isReached(row) ? 'yes' : 'NO') : '',
  ]);
  const head = ['row', 'work', 'Footsteps', 'beside', 'there', 'ratio', 'to reach', 'reached'];
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column].length)));
  for (const line of [head, ...lines]) console.log(line.map((cell, column) => cell.padEnd(widths[column])).join('  '));
}

const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const rounds = Number(process.env.BENCH_ROUNDS ?? 3);
const postgres = await startPostgres();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void postgres.stop().then(() => process.exit(1)));
const rows = [];
try {
  for (const part of Object.values(wanted())) {
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
// Processes that a failed row has left running end with this process.
process.exit();
