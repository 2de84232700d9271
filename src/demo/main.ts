import { rm } from 'node:fs/promises';
import { createLog } from '../adapters/log.js';
import { startApp, type App } from '../app.js';
import { closeOnSignal } from '../close-on-signal.js';
import { readConfig } from '../config.js';
import { explainFailure } from '../explain-failure.js';
import { expectFreePort } from '../free-port.js';
import { createApi } from './api.js';
import { tellPast } from './past.js';
import { createPresent } from './present.js';
import { createVisitorClients } from './visitor-clients.js';

const VISITS = 1_100;
/** Events in one request. */
const BATCH = 500;
/** How often the demo sends what the visitors did. Milliseconds. */
const TICK = 1_000;

const say = (text: string): void => void process.stdout.write(text);

/** Shows the progress. A terminal has one line that is drawn again; any other output gets a new line at each fifth. */
function drawProgress(done: number, of: number): void {
  const bar = '█'.repeat(Math.round((done / of) * 30)).padEnd(30, '░');
  const line = `  ${bar} ${done.toLocaleString('en')} of ${of.toLocaleString('en')} events`;
  if (process.stdout.isTTY) say(`\r${line}${done === of ? '\n' : ''}`);
  else if (done === of || Math.floor((done / of) * 5) > Math.floor(((done - BATCH) / of) * 5)) say(`${line}\n`);
}

let isClosing = (): boolean => false;

function fail(error: unknown): never {
  process.stderr.write(`The demo cannot continue. ${explainFailure(error)}\n`);
  process.exit(1);
}

/** Starts the server with a new database, in a folder below `folders` that is named by the port. */
async function start(settings: Readonly<Record<string, string | undefined>>, folders: string): Promise<App> {
  const { host, port } = readConfig(settings);
  // Checked first, so that the folder of a running demo is not deleted.
  await expectFreePort(host, port);
  // Each start makes a new database, because the server shows the project key at the first start only.
  const folder = `${folders}/${port === 0 ? process.pid : port}`;
  await rm(folder, { recursive: true, force: true });
  const config = readConfig({ ...settings, DATA_DIR: folder });
  return startApp(config, createLog(config.logLevel));
}

async function main(): Promise<void> {
  const settings = { LOG_LEVEL: 'warn', ...process.env, DATABASE_URL: undefined, REDIS_URL: undefined };
  // A folder beside the folder of the real data.
  const folders = `${readConfig(settings).dataDir}-demo`;
  const starting = start(settings, folders);
  isClosing = closeOnSignal(starting, fail);
  say('\nFootsteps: the demo\n\nStarting a server with a database of its own…\n');
  const app = await starting;

  const api = createApi(app.url, app.made.projectKey!);
  const past = tellPast(Date.now(), VISITS);
  say('Sending the last three days of a made-up shop…\n');
  for (let sent = 0; sent < past.events.length && !isClosing(); sent += BATCH) {
    await api.send(past.events.slice(sent, sent + BATCH));
    drawProgress(Math.min(sent + BATCH, past.events.length), past.events.length);
  }
  const server = { url: app.url, key: app.made.projectKey! };
  // A server that is closing refuses the last requests.
  const visitors = createVisitorClients(server, (error) => !isClosing() && fail(error));
  const present = createPresent(visitors, past.people);
  await present.step(Date.now());
  say(`
Open     ${app.url}/
Sign in  ${app.made.projectKey}

From now on users come and go. Ctrl+C stops the demo; then you can delete ${folders}.
`);
  while (!isClosing()) {
    await new Promise((resolve) => setTimeout(resolve, TICK));
    if (!isClosing()) await present.step(Date.now());
  }
}

main().catch((error: unknown) => {
  // A server that is closing refuses the last requests of the demo.
  if (!isClosing()) fail(error);
});
