#!/usr/bin/env node
import { createLog } from './adapters/log.js';
import { startApp, type App } from './app.js';
import { closeOnSignal } from './close-on-signal.js';
import { readConfig } from './config.js';
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

main().catch(fail);
