// What a server's process takes, and what it says of itself.
import { readFileSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { OPERATOR_KEY } from './processes.mjs';

const MEGABYTE = 1024 * 1024;
/** Clock ticks of /proc a second, on every Linux. */
const TICKS = 100;

const statusOf = (pid, name) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

/** Megabytes that it has in memory. */
export const memoryOf = (pid) => statusOf(pid, 'VmRSS') / MEGABYTE;

/** The most that it had since the last `forgetPeak`. */
export const peakOf = (pid) => statusOf(pid, 'VmHWM') / MEGABYTE;
export const forgetPeak = (pid) => writeFileSync(`/proc/${pid}/clear_refs`, '5');

function secondsOf(pid, user, system) {
  // The name of the program, which comes first, may hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
  return (Number(fields[user]) + Number(fields[system])) / TICKS;
}

/** Seconds of the processor that it has used, its system calls included. */
export const processorOf = (pid) => secondsOf(pid, 11, 12);
/** The same of its children that have ended. */
export const processorOfEnded = (pid) => secondsOf(pid, 13, 14);

/** /metrics, by name and labels. What it says of the loop's longest wait (`nodejs_eventloop_lag_max_seconds`) is since it was asked last. */
async function metricsOf({ url }) {
  const response = await fetch(`${url}/metrics`, { headers: { Authorization: `Bearer ${OPERATOR_KEY}` } });
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

/** This process does next to nothing: what holds up its loop is that others have the machine. */
const idle = monitorEventLoopDelay({ resolution: 10 });
idle.enable();

/** Milliseconds that the server's loop was held up at most since the last question, and that of this process. */
export async function longestWait(server) {
  const beside = idle.max / 1_000_000;
  idle.reset();
  return { wait: (await metricsOf(server)).get('nodejs_eventloop_lag_max_seconds') * 1_000, beside };
}

export const edgesOf = async (server) => (await metricsOf(server)).get('footsteps_presence_edges_published_total') ?? 0;

/** Statements of presence, all together. */
export async function statementsOf(server) {
  let count = 0;
  for (const [name, value] of await metricsOf(server)) if (/^footsteps_statement_seconds_count\{.*"presence\./.test(name)) count += value;
  return count;
}
