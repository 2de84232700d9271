// An application that uses @exceptionless/node as its documentation says, and does what its parent tells it.
import { Exceptionless } from '@exceptionless/node';

const { SERVER_URL, API_KEY, IDENTITY, SESSION_IDS } = process.env;

await Exceptionless.startup((config) => {
  config.apiKey = API_KEY;
  config.serverUrl = SERVER_URL;
  config.version = '1.2.3';
  config.setUserIdentity(IDENTITY, 'Ada');
  config.useSessions(true, 60_000, SESSION_IDS === 'yes');
});

const queued = () => Exceptionless.config.services.queue._queue.map(({ event }) => event.message ?? event.type);

const actions = {
  async everyKind() {
    await Exceptionless.submitLog('shop', 'a log line', 'Info');
    await Exceptionless.submitFeatureUsage('checkout');
    await Exceptionless.submitNotFound('/missing');
    await Exceptionless.createEvent()
      .setType('order')
      .setMessage('a custom event')
      .setValue(12.5)
      .setGeo(52.5, 13.4)
      .addTags('new')
      .setProperty('plan', { name: 'gold' })
      .submit();
    await Exceptionless.createException(new TypeError('handled')).setReferenceId('reference-handled').submit();
    await Exceptionless.updateUserEmailAndDescription(
      'reference-handled',
      'ada@example.com',
      'I had just pressed save',
    );
  },
  unhandled() {
    void Promise.reject(new Error('nobody caught this'));
  },
  async log({ messages }) {
    for (const message of messages) await Exceptionless.submitLog('shop', message, 'Info');
  },
  process: () => Exceptionless.processQueue(),
  heartbeat: () => Exceptionless.submitSessionHeartbeat(),
  identify: ({ identity }) => Exceptionless.config.setUserIdentity(identity),
  fetchSettings: async () => (await Exceptionless.config.services.submissionClient.getSettings(0)).data,
  // Then nothing is left to do: Node emits beforeExit, and the client ends its session.
  finish: () => process.disconnect(),
};

process.on('message', async ({ id, action, ...given }) => {
  const result = await actions[action](given);
  if (!process.connected) return;
  process.send({
    id,
    result,
    queued: queued(),
    batchSize: Exceptionless.config.submissionBatchSize,
    settings: { ...Exceptionless.config.settings },
    settingsVersion: Exceptionless.config.settingsVersion,
  });
});
process.send({ id: 0, queued: queued() });
