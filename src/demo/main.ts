import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { createLog } from '../adapters/log.js';
import { startApp } from '../app.js';
import { readConfig } from '../config.js';
import { createApi } from './api.js';
import { tellPast } from './past.js';
import { createPresent } from './present.js';

/** Folders of its own, made anew each time: the demo's key is shown at the first start alone. */
const FOLDERS = './data-demo';
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

/** Whether somebody listens there. */
const isTaken = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });

async function main(): Promise<void> {
  say('\nFootsteps: the demo\n\nStarting a server with a database of its own…\n');
  const settings = { LOG_LEVEL: 'warn', ...process.env, DATABASE_URL: undefined, REDIS_URL: undefined };
  const { host, port } = readConfig(settings);
  // A demo that runs already keeps its folder.
  if (port !== 0 && (await isTaken(host, port)))
    throw new Error(`Port ${port} is taken already: set PORT to another one.`);
  const folder = `${FOLDERS}/${port === 0 ? process.pid : port}`;
  await rm(folder, { recursive: true, force: true });
  const config = readConfig({ ...settings, DATA_DIR: folder });
  const app = await startApp(config, createLog(config.logLevel));
  let closing = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (closing) process.exit(1);
      closing = true;
      void app.close(signal).then(() => process.exit(0));
    });
  }

  const api = createApi(app.url, app.made.projectKey!);
  const past = tellPast(Date.now(), VISITS);
  say('Telling the last three days of a shop…\n');
  for (let sent = 0; sent < past.events.length && !closing; sent += BATCH) {
    await api.send(past.events.slice(sent, sent + BATCH));
    drawProgress(Math.min(sent + BATCH, past.events.length), past.events.length);
  }
  const present = createPresent(api, past.people);
  await present.step(Date.now());
  say(`
Open     ${app.url}/
Sign in  ${app.made.projectKey}

People come and go from now on. Ctrl+C ends it; ${FOLDERS} can be deleted then.
`);
  while (!closing) {
    await new Promise((resolve) => setTimeout(resolve, TICK));
    if (!closing) await present.step(Date.now());
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`The demo cannot go on. ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
