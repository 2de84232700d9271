// For rows 2 (a) and 3: the product's own HTTP, Yoga and Pothos layers on services that answer at once.
import { createLog } from '../../../dist/adapters/log.js';
import { createMetrics } from '../../../dist/adapters/metrics.js';
import { createRateCounter } from '../../../dist/adapters/redis/rate-counter.js';
import { createRateLimits } from '../../../dist/services/access/rate-limits.js';
import { schema } from '../../../dist/schema/schema.js';
import { createServer } from '../../../dist/transport/server.js';

const log = createLog('error');
const metrics = createMetrics();
const caller = {
  kind: 'project',
  reach: { projectId: '00000000-0000-7000-8000-000000000000', userIds: null },
  identities: null,
  scopes: new Set(['INGEST', 'READ']),
  keyId: '00000000-0000-7000-8000-000000000001',
  expiresAt: null,
  settings: { storeIpAddress: true, bots: 'MARK', allowedOrigins: [], rateLimit: null },
  clientSettingsVersion: 0,
};
const outcome = { status: 'ACCEPTED', eventId: null, sessionId: null, code: null, message: null };
const services = {
  clock: { now: () => new Date() },
  keys: { authenticate: async () => caller, onRevoked: () => () => {} },
  ingest: {
    ingestEvents: async (_caller, events) => events.map(() => outcome),
    recordHeartbeat: async () => ({ acknowledged: true, sessionId: null }),
  },
};
const server = createServer({
  schema,
  services,
  rateLimits: createRateLimits({
    counter: createRateCounter({ redis: null, observe: () => {} }),
    perKey: 999_999_999,
    perAddress: 999_999_999,
  }),
  expose: async () => ({ contentType: '', text: '' }),
  observe(observation) {
    log(observation);
    metrics.observe(observation);
  },
  host: '127.0.0.1',
  port: 0,
  trustedProxies: [],
  missing: async () => [],
});
process.send({ url: (await server.listen()).url });
