import { createIngest } from '../../src/services/ingest/ingest.js';
import type { Shortcut } from '../../src/services/ingest/extend-sessions.js';
import { userIdOf } from '../../src/domain/identity.js';
import type { IngestOutcome } from '../../src/domain/event.js';
import type { Database } from '../../src/store/database.js';
import { firstSessions } from '../../src/store/sessions/sessions.js';
import { uuidIn } from './tenant.js';
import { createExecutor } from './execute.js';
import type { TestDatabase } from './database.js';
import {
  SessionModel,
  sourcesAt,
  standing,
  type ModelEvent,
  type ModelSettings,
  type Step,
  type Verdict,
} from './session-model.js';
import { shownBy } from './shown-presence.js';
import { createStage, SENDER, toIncoming, type Stage } from './stage.js';

/** Plays histories twice, with the product and with the model of the rules, and reports differences. */

export interface History {
  readonly settings: ModelSettings;
  readonly steps: readonly Step[];
}

/** TWO: two servers on one database take turns, each with its own memory of users. PLAN_ONLY: no server has the shortcut. */
export type Servers = 'TWO' | 'PLAN_ONLY';

export const eventText = ({
  type,
  t,
  user,
  deviceId,
  sessionKey,
  referenceId,
  id,
  startPolicy,
  source,
}: ModelEvent): string => {
  const notes = [
    user,
    deviceId && `on ${deviceId}`,
    sessionKey && `key ${sessionKey}`,
    referenceId && `reference ${referenceId}`,
    id && `id ${id}`,
    startPolicy,
    source && `source ${source}`,
  ];
  return `${type}@${t ?? 'now'} (${notes.filter((note) => note !== undefined).join(', ') || 'nobody'})`;
};

export const stepText = (step: Step): string => {
  if ('events' in step) {
    const sent = step.sentAt === undefined ? '' : ` sentAt ${step.sentAt}`;
    return `request${sent}: ${step.events.map(eventText).join(', ')}`;
  }
  if ('beat' in step) return `recordHeartbeat${step.close ? ' close' : ''} (${Object.values(step.beat).join(' on ')})`;
  if ('closer' in step) return step.closer === 0 ? 'closer' : `closer ${step.closer} s ahead`;
  return `settings ${JSON.stringify(step.settings)}`;
};

/** A history as a readable list. */
export const tell = ({ settings, steps }: History): string =>
  [
    `  T = ${settings.inactivityTimeout}, P = ${settings.presenceTimeout}, ${settings.sessionStart}`,
    ...steps.map((step) => `  at ${step.at}: ${stepText(step)}`),
  ].join('\n');

const withoutShortcut: Shortcut = {
  take: async (_database, events) => ({
    outcomes: events.map(() => null),
    changes: { edges: [], sessions: [], events: [] },
  }),
  learn: () => {},
};

const SESSION_TEXT = `SELECT s.id, u.identity, s.device_id, s.key, s.started_at, s.last_activity_at, s.ended_at, s.end_reason, s.event_count, s.error_count,
  s.explicit_start, s.entry_source, s.exit_source
  FROM sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id WHERE s.project_id = $1`;

interface Line {
  id: string;
  text: string;
  /** The sources of its first and its latest event that name one. */
  entry: string | null;
  exit: string | null;
}

const line = (
  user: string | null,
  device: string | null,
  key: string | null,
  start: number,
  last: number,
  end: number | null,
  reason: string | null,
  events: number,
  errors: number,
  startReason: string,
): string =>
  `${key === null ? '' : `key ${key} of `}${user ?? 'nobody'}${device === null ? '' : ` on ${device}`}: ${start}..${last} ${end === null ? 'open' : `${reason}@${end}`}, ${events} events${errors ? `, ${errors} errors` : ''}, began by ${startReason}`;

async function sessionsOf(stage: Stage): Promise<Line[]> {
  const seconds = (date: Date): number => (date.getTime() - stage.time(0).getTime()) / 1000;
  const rows = await stage.database.query<any>({ name: 'test.model', text: SESSION_TEXT, values: [stage.projectId] });
  const ids = rows.map(({ id }) => id);
  const first = await firstSessions(stage.database, stage.caller.reach, ids);
  return rows.map((row) => ({
    id: row.id,
    entry: row.entry_source,
    exit: row.exit_source,
    text: line(
      row.identity,
      row.device_id,
      row.key,
      seconds(row.started_at),
      seconds(row.last_activity_at),
      row.ended_at && seconds(row.ended_at),
      row.end_reason,
      row.event_count,
      row.error_count,
      row.explicit_start ? 'CLIENT' : first.has(row.id) ? 'FIRST_SEEN' : 'ACTIVITY',
    ),
  }));
}

interface Count {
  readonly identity: string;
  readonly published: number;
  readonly counted: number;
}

/** The published number of online sessions of each user, and the number by the rows of sessions (rule 28). */
const countsOf = (stage: Stage): Promise<Count[]> =>
  stage.database.query<Count>({
    name: 'test.counts',
    text: `SELECT u.identity, u.online_sessions AS published, (
             SELECT count(*)::integer FROM sessions s
             WHERE s.project_id = $1 AND s.user_id = u.id AND s.live AND s.due_at <= s.online_until
           ) AS counted FROM users u WHERE u.project_id = $1 ORDER BY 1`,
    values: [stage.projectId],
  });

const codeOf = ({ status, code }: IngestOutcome): string => code ?? status;

const INGEST = `mutation ($events: [EventInput!]!, $sentAt: DateTime) {
  ingestEvents(events: $events, sentAt: $sentAt) { results { status code sessionId eventId } } }`;

const iso = (date: Date | undefined): string | undefined => date && new Date(date).toISOString();

/** Plays the history. Returns the first difference between product and model; null if there is none. */
export async function difference(
  db: TestDatabase,
  second: Database,
  history: History,
  servers: Servers,
): Promise<string | null> {
  const plan = servers === 'PLAN_ONLY' ? { shortcut: withoutShortcut } : {};
  const stage = await createStage(db, history.settings, {}, plan);
  const model = new SessionModel(history.settings, (user) => userIdOf(stage.projectId, user));
  const executor = await createExecutor(stage, stage.bus);
  const other = createIngest({
    database: second,
    bus: stage.bus,
    clock: { now: () => stage.now() },
    observe: () => {},
    ...plan,
  });
  const wrong: string[] = [];

  /** The session that the API returns for an id. */
  async function answerOf(id: string, lines: readonly Line[]): Promise<string> {
    const own = lines.find((one) => one.id === id);
    if (own) return own.text;
    const globalId = Buffer.from(`Session:${id}`).toString('base64');
    const { node } = await executor.data('query ($id: ID!) { node(id: $id) { id } }', { id: globalId });
    return lines.find((one) => node && one.id === uuidIn(node.id))?.text ?? 'none';
  }

  const named: { id: string; verdict: Verdict }[] = [];

  async function send(step: Extract<Step, { events: unknown }>, number: number): Promise<IngestOutcome[]> {
    if (step.sentAt !== undefined) {
      const events = step.events.map((event) => {
        const { user, occurredAt, ...rest } = toIncoming(event, stage.time);
        return { ...rest, ...(user && { user }), ...(occurredAt && { occurredAt: iso(occurredAt) }) };
      });
      const data = await executor.data(INGEST, { events, sentAt: iso(stage.time(step.sentAt)) });
      return data.ingestEvents.results.map((result: IngestOutcome) => ({
        ...result,
        sessionId: result.sessionId && uuidIn(result.sessionId),
      }));
    }
    const server = number % 2 ? stage.ingest : other;
    return server.ingestEvents(
      stage.caller,
      step.events.map((event) => toIncoming(event, stage.time)),
      SENDER,
    );
  }

  async function play(step: Step, number: number): Promise<void> {
    stage.at(step.at);
    const verdicts = model.play(step);
    if ('closer' in step) {
      await stage.closer.runOnce(stage.time(step.at + step.closer));
    } else if ('settings' in step) {
      await executor.data('mutation ($settings: ProjectSettingsInput) { updateProject(settings: $settings) { id } }', {
        settings: step.settings,
      });
      // A changed timeout is applied in the background. Here it is applied before the next step.
      await stage.closer.runOnce(stage.now());
    } else if ('beat' in step) {
      const answer = await stage.beat(step.beat, step.close);
      const got = answer.acknowledged ? 'HEARTBEAT' : 'NO_SESSION';
      if (got !== verdicts[0]!.code)
        wrong.push(`at ${step.at}: ${stepText(step)} was ${got}, not ${verdicts[0]!.code}`);
      if (answer.sessionId) named.push({ id: answer.sessionId, verdict: verdicts[0]! });
    } else {
      const answers = await send(step, number);
      for (const [at, answer] of answers.entries()) {
        const { code } = verdicts[at]!;
        if (codeOf(answer) !== code)
          wrong.push(`at ${step.at}: ${eventText(step.events[at]!)} was ${codeOf(answer)}, not ${code}`);
        if (answer.sessionId) named.push({ id: answer.sessionId, verdict: verdicts[at]! });
      }
    }
  }

  /** After every step the rows, the published numbers and what subscribers show must agree. */
  async function checkPresence(when: string): Promise<Count[]> {
    const counts = await countsOf(stage);
    const shown = shownBy(stage.edges());
    for (const { identity, published, counted } of counts) {
      const told = shown.get(identity) ?? 0;
      if (published !== counted || published !== told)
        wrong.push(`${when}: ${identity} has ${counted} sessions online, ${published} are published, ${told} told`);
    }
    return counts;
  }

  for (const [number, step] of history.steps.entries()) {
    await play(step, number);
    await checkPresence(`after ${step.at}: ${stepText(step)}`);
  }
  // Rule 6: a session that is due has ended, whether or not the closer has run.
  const last = history.steps.at(-1)!.at;
  await play({ at: last, closer: 0 }, 0);
  const online = await checkPresence('at the end');
  // A clock that ran ahead has let sessions lapse that would still count by this clock.
  if (!history.steps.some((step) => 'closer' in step && step.closer > 0)) {
    const expected = model.onlineSessions();
    for (const { identity, published } of online) {
      const right = expected.get(identity) ?? 0;
      if (published !== right) wrong.push(`${identity} has ${published} sessions online at the end, not ${right}`);
    }
  }
  const got = await sessionsOf(stage);
  const expected = model.sessions().map((session) => ({
    session,
    text: line(
      session.user,
      session.device,
      session.key,
      session.start,
      session.last,
      session.end,
      session.reason,
      session.stored.length,
      session.stored.filter(({ type }) => type === 'error').length,
      model.startReason(session),
    ),
  }));
  const texts = (lines: readonly { text: string }[]): string =>
    lines
      .map(({ text }) => text)
      .toSorted()
      .join('\n    ');
  if (texts(got) !== texts(expected))
    wrong.push(`sessions are\n    ${texts(got) || 'none'}\n  and not\n    ${texts(expected) || 'none'}`);
  else {
    for (const { text, ...shown } of got) {
      const alike = expected.filter((one) => one.text === text).map(({ session }) => session);
      for (const end of ['entry', 'exit'] as const) {
        const right = alike.flatMap((session) =>
          sourcesAt(session, end).concat(sourcesAt(session, end).length ? [] : 'none'),
        );
        if (!right.includes(shown[end] ?? 'none'))
          wrong.push(`the ${end} of ${text} is ${shown[end] ?? 'none'}, not ${right.join(' or ')}`);
      }
    }
    // Rule 27: the session id in an event's answer is, or has become, the session that contains the event.
    const answers = new Map<string, string>();
    for (const { id, verdict } of named) {
      const right = verdict.session && expected.find(({ session }) => session === standing(verdict.session!));
      if (!right) continue;
      if (!answers.has(id)) answers.set(id, await answerOf(id, got));
      if (answers.get(id) !== right.text) wrong.push(`the id answered for ${right.text} is that of ${answers.get(id)}`);
    }
  }
  return wrong.length > 0 ? wrong.map((one) => `  ${one}`).join('\n') : null;
}
