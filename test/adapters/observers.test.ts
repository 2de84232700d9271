import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMetrics } from '../../src/adapters/metrics.js';
import { createTraces } from '../../src/adapters/traces.js';
import type { Observation } from '../../src/observation.js';

/** One of each kind, which the type asks for. */
const SAMPLES: { [Kind in Observation['kind']]: Extract<Observation, { kind: Kind }> } = {
  'server.listening': { kind: 'server.listening', url: 'http://127.0.0.1:1' },
  'server.draining': { kind: 'server.draining', reason: 'SIGTERM' },
  'server.closed': { kind: 'server.closed', milliseconds: 1 },
  'database.starting': { kind: 'database.starting', folder: '/data' },
  'database.ready': { kind: 'database.ready', version: '18', milliseconds: 1 },
  'database.lost': { kind: 'database.lost', message: 'gone' },
  'database.full': { kind: 'database.full', message: 'No space left on device' },
  'migration.applied': { kind: 'migration.applied', name: 'init', milliseconds: 1 },
  'migration.waits': { kind: 'migration.waits', name: '0001_init', message: 'It waits.' },
  'partition.created': { kind: 'partition.created', name: 'events_20261123' },
  statement: { kind: 'statement', name: 'events.list', milliseconds: 1, rows: 2 },
  'request.finished': { kind: 'request.finished', request: 'r', door: 'http', outcome: '200', milliseconds: 1 },
  'request.failed': { kind: 'request.failed', request: 'r', error: new Error('x') },
  'events.taken': { kind: 'events.taken', outcomes: { ACCEPTED: 1, DISCARDED: 0, DUPLICATE: 0, REJECTED: 0 } },
  'batch.committed': { kind: 'batch.committed', requests: 1, events: 1, planned: 1, milliseconds: 1, waited: 1 },
  'batch.retried': { kind: 'batch.retried', reason: '40001', attempt: 1 },
  'batch.poisoned': { kind: 'batch.poisoned', events: 1, error: new Error('x') },
  'ingest.refused': { kind: 'ingest.refused', queued: 1 },
  'collector.dropped': { kind: 'collector.dropped', request: 'r', events: 1, code: 'BOT', message: 'x' },
  'closer.finished': { kind: 'closer.finished', closed: 1, lapsed: 1, milliseconds: 1, lag: 1 },
  'closer.failed': { kind: 'closer.failed', error: new Error('x') },
  'service.returned': { kind: 'service.returned', milliseconds: 1 },
  'edges.published': { kind: 'edges.published', count: 1 },
  'messages.delivered': { kind: 'messages.delivered', count: 1 },
  'bus.connected': { kind: 'bus.connected' },
  'bus.lost': { kind: 'bus.lost', message: 'gone' },
  'bus.publishFailed': { kind: 'bus.publishFailed', channel: 'keys', error: new Error('x') },
  'bus.junk': { kind: 'bus.junk', channel: 'keys', characters: 4 },
  'watcher.opened': { kind: 'watcher.opened', what: 'presence' },
  'watcher.closed': { kind: 'watcher.closed', what: 'presence' },
  'watcher.resnapshotted': { kind: 'watcher.resnapshotted', why: 'gap' },
  'webhook.sent': { kind: 'webhook.sent', outcome: 'taken', changes: 1, milliseconds: 1 },
  'webhook.disabled': { kind: 'webhook.disabled', project: 'p', webhook: 'w', reason: 'GONE' },
  'task.failed': { kind: 'task.failed', task: 'keys.touch', error: new Error('x') },
};

test.each(Object.values(SAMPLES))('$kind changes a figure', async (sample) => {
  const metrics = createMetrics();
  const figures = async () => (await metrics.expose()).text.split('\n').filter((line) => line.startsWith('footsteps_'));
  const before = await figures();
  metrics.observe(sample);
  expect(await figures()).not.toEqual(before);
});

let collector: Server;
const received: { path: string | undefined; body: string }[] = [];
beforeAll(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ path: request.url, body: Buffer.concat(chunks).toString('latin1') });
      response.end();
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
});
afterAll(() => collector.close());

test('what took time is a span, sent where OTEL_EXPORTER_OTLP_ENDPOINT says', async () => {
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  const traces = createTraces();
  for (const sample of Object.values(SAMPLES)) traces.observe(sample);
  await traces.close();
  delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  expect(received.map(({ path }) => path)).toEqual(['/v1/traces']);
  for (const word of ['footsteps', 'events.list', 'request.finished', 'batch.committed']) {
    expect(received[0]!.body).toContain(word);
  }
});
