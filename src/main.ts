#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { createLog } from './adapters/log.js';
import { startApp, type App } from './app.js';
import { closeOnSignal } from './close-on-signal.js';
import { readConfig, VARIABLES } from './config.js';
import { explainFailure } from './explain-failure.js';

/** A shell command that sends `query` with `key`. */
const curl = (url: string, key: string, query: string): string =>
  `  curl ${url}/graphql -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '${JSON.stringify({ query })}'`;

/** Prints where the server listens and, at the first start, the keys and how to use them. */
function greet({ url, made: { operatorKey, projectKey } }: App, graphiql: boolean): void {
  const pages = `dashboard: ${url}/${graphiql ? `, GraphiQL: ${url}/graphql` : ''}`;
  const lines = ['', `Footsteps listens on ${url}  (${pages})`, ''];
  if (operatorKey ?? projectKey) lines.push('Shown this once, so keep it:');
  if (operatorKey) lines.push(`  operator key  ${operatorKey}   creates projects`);
  if (projectKey) {
    const event = '{ type: "page view", source: "/", user: { identity: "ada@example.com" } }';
    lines.push(
      `  project key   ${projectKey}   of "My project", with every scope`,
      '',
      'Send a first event, then list the sessions:',
      curl(url, projectKey, `mutation { ingestEvents(events: [${event}]) { accepted } }`),
      curl(url, projectKey, '{ sessions { nodes { user { identity } startedAt eventCount } } }'),
    );
  }
  if (operatorKey ?? projectKey) lines.push('');
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}

const USAGE = `Usage: footsteps [--help | --version]

Starts the server. Without settings it has a Postgres of its own in ./data, and listens on http://127.0.0.1:4000.
Ctrl-C stops it. Settings are variables of the environment; README.md ("Environment") explains them:
${VARIABLES.map((name) => `  ${name}`).join('\n')}
  OTEL_*
`;

const readVersion = (): string =>
  (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** Answers arguments, which start no server. Returns whether there were some. */
function answerArguments(given: readonly string[]): boolean {
  const [first] = given;
  if (first === undefined) return false;
  if (first === '--help' || first === '-h') process.stdout.write(USAGE);
  else if (first === '--version') process.stdout.write(`${readVersion()}\n`);
  else {
    process.stderr.write(
      `Footsteps does not know "${first}". Its settings are variables of the environment.\n\n${USAGE}`,
    );
    process.exitCode = 2;
  }
  return true;
}

function fail(error: unknown): never {
  process.stderr.write(`Footsteps cannot start. ${explainFailure(error)}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const starting = startApp(config, createLog(config.logLevel));
  closeOnSignal(starting, fail);
  greet(await starting, config.graphiql);
}

if (!answerArguments(process.argv.slice(2))) main().catch(fail);
