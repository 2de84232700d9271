import type { DeviceState } from '../services/messages.js';
import { MOST_DEVICES, type PresenceDevice as PresenceDeviceShape } from '../store/presence/read-devices.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { toGlobalId } from './global-id.js';
import { HeartbeatInput, HeartbeatPayload } from './ingest.js';
import { loadBy } from './loaders.js';
import { pace } from './pace.js';
import { UserPresence } from './presence.js';
import { needs, projectCaller } from './scopes.js';

/** What the session's device said last (setPresence). Null: nothing is known. */
async function stateOf(context: Context, sessionId: string): Promise<DeviceState | null> {
  const { deviceStates } = context.services;
  const { projectId } = projectCaller(context).reach;
  await deviceStates.ready(projectId);
  return deviceStates.of(projectId, sessionId);
}

const PresenceDevice = builder.objectRef<PresenceDeviceShape>('PresenceDevice').implement({
  description: 'A session that counts as online: a device, a browser or a tab that the user uses.',
  fields: (t) => ({
    sessionId: t.id({
      nullable: true,
      description: 'The id of the session. Reading the session needs READ.',
      resolve: ({ sessionId }) => toGlobalId('Session', sessionId),
    }),
    key: t.exposeString('key', {
      nullable: true,
      description:
        'What the client calls the session (sessionKey) or, without a key, the device (deviceId). Null if it gave neither.',
    }),
    since: t.expose('since', { type: 'DateTime', description: 'When the session started.' }),
    browser: t.exposeString('browser', { nullable: true, description: 'The name of the browser, e.g. Chrome.' }),
    os: t.exposeString('os', { nullable: true, description: 'The name of the operating system, e.g. Windows.' }),
    device: t.exposeString('device', {
      nullable: true,
      description: 'The model of the device, or its kind, e.g. desktop.',
    }),
    state: t.field({
      type: 'JSONObject',
      nullable: true,
      description:
        'The state that the latest setPresence of the session set; null if it set none. The server that received the state keeps it in memory. If that server ends, the state is lost until the client sends it again.',
      async resolve({ sessionId }, _args, context) {
        const told = await stateOf(context, sessionId);
        return told?.state == null ? null : (JSON.parse(told.state) as Record<string, unknown>);
      },
    }),
    away: t.boolean({
      description:
        'Whether the latest setPresence of the session said that nobody is at the device. It is kept like state.',
      resolve: async ({ sessionId }, _args, context) => (await stateOf(context, sessionId))?.away ?? false,
    }),
  }),
});

/** The price of a user's devices, in rows. Most users have one or two devices. */
const READS = 2;

builder.objectField(UserPresence, 'devices', (t) =>
  t.field({
    type: [PresenceDevice],
    description: `The sessions of the user that count as online, the newest first: at most ${MOST_DEVICES.ofUser}. If the server reads more than ${MOST_DEVICES.inAll / MOST_DEVICES.ofUser} users together (a page, or a thousand users of a message), it shows fewer of each user: ${MOST_DEVICES.inAll.toLocaleString('en')} in all. onlineSessions counts all of them. The server reads the devices when it makes the answer, so they may be a moment newer than the other fields. Empty for a moment in the past.`,
    extensions: { reads: READS },
    async resolve({ identity, onlineSessions, isPast }, _args, context) {
      if (onlineSessions === 0 || isPast) return [];
      const devices = await loadBy<string, readonly PresenceDeviceShape[]>(
        context,
        'devices',
        identity,
        async (identities, by) => {
          const { database, readDevices } = by.services;
          const found = await readDevices(projectCaller(by), database, identities);
          return identities.map((one) => found.get(one) ?? []);
        },
      );
      await pace(context, 1 + devices.length);
      return devices;
    },
  }),
);

/** The price of publishing the state to every server, in rows: one point, in addition to the heartbeat. */
const SAYING = 100;

builder.mutationField('setPresence', (t) =>
  t.field({
    type: HeartbeatPayload,
    description:
      'Tells subscribers something about this device: typing, a page, away. The call is a heartbeat with all its effects, and the device is the session of the heartbeat. Subscribers of userPresence that select devices get a DIFF, although no user comes or leaves. The server joins the changes of all devices of a project to one update a second, and always sends the latest. Each call replaces everything that the device said before. What the device said ends when the session no longer counts as online. The server that received it keeps it in memory, not in the database. If that server ends, it is lost until the client sends it again. So send it with every heartbeat. Needs INGEST.',
    extensions: { ...needs('INGEST').extensions, reads: SAYING },
    args: {
      input: t.arg({
        type: HeartbeatInput,
        required: true,
        description: 'The heartbeat: it names the session or the user.',
      }),
      state: t.arg({
        type: 'JSONObject',
        description:
          'What the device says about itself: at most 1,024 bytes of JSON. Left out: the device says nothing.',
      }),
      away: t.arg.boolean({ required: true, defaultValue: false, description: 'Whether nobody is at the device.' }),
    },
    resolve(_root, { input, state, away }, context) {
      const caller = projectCaller(context);
      const { ingest, setPresence } = context.services;
      return setPresence(caller.reach.projectId, { state: state ?? null, away }, () =>
        ingest.recordHeartbeat(caller, input, context.sender),
      );
    },
  }),
);
