import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Observation, Observer } from '../observation.js';

export interface Metrics {
  readonly observe: Observer;
  /** Registers a figure that is read each time the metrics are read. */
  gauge(name: string, help: string, read: () => number): void;
  /** All metrics in the text format of Prometheus. */
  expose(): Promise<{ contentType: string; text: string }>;
}

type Handlers = { [Kind in Observation['kind']]: (observation: Extract<Observation, { kind: Kind }>) => void };

/** Buckets in seconds, from a tenth of a millisecond to the longest time that a client waits. */
const SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SIZES = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000];

/**
 * Counts observations for Prometheus. The type requires a handler for every kind. Labels are only names from the code,
 * never values that a client sends.
 */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `footsteps_${name}`, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name: `footsteps_${name}`, help, buckets, labelNames, registers });
  const level = (name: string, help: string, ...labelNames: string[]) =>
    new Gauge({ name: `footsteps_${name}`, help, labelNames, registers });

  const requests = histogram('request_seconds', 'Requests, by door and outcome.', SECONDS, 'door', 'outcome');
  const failures = counter('request_failures_total', 'Requests that failed because of an error in the server.');
  const statements = histogram('statement_seconds', 'SQL statements, by name.', SECONDS, 'statement');
  const rows = counter('statement_rows_total', 'Rows that statements read or wrote, by name.', 'statement');
  const events = counter('events_total', 'Events, by outcome.', 'outcome');
  const batchEvents = histogram('batch_events', 'Events and heartbeats in a batch.', SIZES);
  const planned = counter(
    'batch_planned_events_total',
    'Events that needed a plan; the other events only continued a session.',
  );
  const batchSeconds = histogram('batch_seconds', 'Time from the beginning of a batch to its commit.', SECONDS);
  const waited = histogram('batch_wait_seconds', 'How long the oldest request of a batch had waited.', SECONDS);
  const retries = counter('batch_retries_total', 'Batches that were planned again because another server was faster.');
  const poisoned = counter('batch_poisoned_events_total', 'Events that the database refused.');
  const refused = counter('ingest_refused_total', 'Requests that were refused because the queue was full.');
  const dropped = counter(
    'collector_dropped_events_total',
    'Events of the collector that were dropped, by code.',
    'code',
  );
  const closed = counter('closer_closed_total', 'Sessions closed for inactivity.');
  const lapsed = counter('closer_lapsed_total', 'Users whose presence lapsed.');
  const closerSeconds = histogram('closer_seconds', 'Time of a run of the closer that found something to do.', SECONDS);
  const lag = level(
    'closer_lag_seconds',
    'How late the latest run of the closer found the session that was due first.',
  );
  const published = counter('presence_edges_published_total', 'Changes of presence handed to the bus.');
  const delivered = counter('messages_delivered_total', 'Messages sent to subscribers over WebSockets.');
  const watchers = level('subscriptions_open', 'Open subscriptions, by what they watch.', 'what');
  const snapshots = counter(
    'subscription_snapshots_total',
    'Subscribers that were sent a new snapshot, by reason.',
    'why',
  );
  const bus = counter('bus_connections_total', 'Connections of the bus: the first, and each reconnection.');
  const sent = histogram('webhook_seconds', 'Messages sent to webhooks, by outcome.', SECONDS, 'outcome');
  const sentChanges = counter('webhook_changes_total', 'Changes in messages that receivers of webhooks took.');
  const disabled = counter('webhooks_disabled_total', 'Webhooks that were given up, by reason.', 'reason');
  const troubles = counter('troubles_total', 'Problems that an operator should look at, by kind.', 'kind');
  const states = counter('lifecycle_total', 'Steps in the life of the server and its database, by kind.', 'kind');

  const trouble = ({ kind }: Observation): void => troubles.inc({ kind });
  const state = ({ kind }: Observation): void => states.inc({ kind });
  const handlers: Handlers = {
    'server.listening': state,
    'server.draining': state,
    'server.closed': state,
    'database.starting': state,
    'database.ready': state,
    'database.lost': trouble,
    'database.full': trouble,
    'migration.applied': state,
    'migration.waits': state,
    'partition.created': state,
    statement: ({ name, milliseconds, rows: count }) => {
      const statement = name.slice(0, 60);
      statements.observe({ statement }, milliseconds / 1_000);
      rows.inc({ statement }, count);
    },
    'request.finished': ({ door, outcome, milliseconds }) => requests.observe({ door, outcome }, milliseconds / 1_000),
    'request.failed': () => failures.inc(),
    'events.taken': ({ outcomes }) => {
      for (const [outcome, count] of Object.entries(outcomes)) if (count > 0) events.inc({ outcome }, count);
    },
    'batch.committed': (batch) => {
      batchEvents.observe(batch.events);
      planned.inc(batch.planned);
      batchSeconds.observe(batch.milliseconds / 1_000);
      waited.observe(batch.waited / 1_000);
    },
    'batch.retried': () => retries.inc(),
    'batch.poisoned': ({ events: count }) => poisoned.inc(count),
    'ingest.refused': () => refused.inc(),
    'collector.dropped': ({ code, events: count }) => dropped.inc({ code }, count),
    'closer.finished': (look) => {
      closed.inc(look.closed);
      lapsed.inc(look.lapsed);
      closerSeconds.observe(look.milliseconds / 1_000);
      lag.set(look.lag / 1_000);
    },
    'closer.failed': trouble,
    'service.returned': state,
    'edges.published': ({ count }) => published.inc(count),
    'messages.delivered': ({ count }) => delivered.inc(count),
    'bus.connected': () => bus.inc(),
    'bus.lost': trouble,
    'bus.publishFailed': trouble,
    'bus.junk': trouble,
    'watcher.opened': ({ what }) => watchers.inc({ what }),
    'watcher.closed': ({ what }) => watchers.dec({ what }),
    'watcher.resnapshotted': ({ why }) => snapshots.inc({ why }),
    'webhook.sent': ({ outcome, changes, milliseconds }) => {
      sent.observe({ outcome }, milliseconds / 1_000);
      if (outcome === 'taken') sentChanges.inc(changes);
    },
    'webhook.disabled': ({ reason }) => disabled.inc({ reason }),
    'task.failed': trouble,
  };

  return {
    observe: (observation) => (handlers[observation.kind] as (observation: Observation) => void)(observation),
    gauge(name, help, read) {
      const gauge: Gauge = new Gauge({
        name: `footsteps_${name}`,
        help,
        registers,
        collect: () => gauge.set(read()),
      });
    },
    expose: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}
