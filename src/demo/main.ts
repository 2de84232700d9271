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

const VISITS = 1_100;
/** Events in one request. */
const BATCH = 500;
/** How often the present moves on. Milliseconds. */
const TICK = 1_000;

const say = (text: string): void => void process.stdout.write(text);

/** Draws how far it has come: in its place on a terminal, else now and then on a line of its own. */
function drawProgress(done: number, of: number): void {
  const bar = '█'.repeat(Math.round((done / of) * 30)).padEnd(30, '░');
  const line = `  ${bar} ${done.toLocaleString('en')} of ${of.toLocaleString('en')} events`;
  if (process.stdout.isTTY) say(`\r${line}${done === of ? '\n' : ''}`);
  else if (done === of || Math.floor((done / of) * 5) > Math.floor(((done - BATCH) / of) * 5)) say(`${line}\n`);
}

let isClosing = (): boolean => false;

function fail(error: unknown): never {
  process.stderr.write(`The demo cannot go on. ${explainFailure(error)}\n`);
  process.exit(1);
}

/** Starts the server on a new database, in `folders`. */
async function start(settings: Readonly<Record<string, string | undefined>>, folders: string): Promise<App> {
  const { host, port } = readConfig(settings);
  // A demo that runs already keeps its folder.
  await expectFreePort(host, port);
  // Made anew each time: the demo's key is shown at the first start alone.
  const folder = `${folders}/${port === 0 ? process.pid : port}`;
  await rm(folder, { recursive: true, force: true });
  const config = readConfig({ ...settings, DATA_DIR: folder });
  return startApp(config, createLog(config.logLevel));
}

async function main(): Promise<void> {
  const settings = { LOG_LEVEL: 'warn', ...process.env, DATABASE_URL: undefined, REDIS_URL: undefined };
  // Beside the real data.
  const folders = `${readConfig(settings).dataDir}-demo`;
  const starting = start(settings, folders);
  isClosing = closeOnSignal(starting, fail);
  say('\nFootsteps: the demo\n\nStarting a server with a database of its own…\n');
  const app = await starting;

  const api = createApi(app.url, app.made.projectKey!);
  const past = tellPast(Date.now(), VISITS);
  say('Telling the last three days of a shop…\n');
  for (let sent = 0; sent < past.events.length && !isClosing(); sent += BATCH) {
    await api.send(past.events.slice(sent, sent + BATCH));
    drawProgress(Math.min(sent + BATCH, past.events.length), past.events.length);
  }
  const present = createPresent(api, past.people);
  await present.step(Date.now());
  say(`
Open     ${app.url}/
Sign in  ${app.made.projectKey}

People come and go from now on. Ctrl+C ends it; ${folders} can be deleted then.
`);
  while (!isClosing()) {
    await new Promise((resolve) => setTimeout(resolve, TICK));
    if (!isClosing()) await present.step(Date.now());
  }
}

main().catch((error: unknown) => {
  // A server that closes refuses what the demo still sends.
  if (!isClosing()) fail(error);
});
