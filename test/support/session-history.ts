import { createIngest } from '../../src/services/ingest.js';
import type { Shortcut } from '../../src/services/extend-sessions.js';
import type { IngestOutcome } from '../../src/domain/event.js';
import type { Database } from '../../src/store/database.js';
import { uuidIn } from './tenant.js';
import { createExecutor } from './execute.js';
import type { TestDatabase } from './database.js';
import {
  SessionModel,
  standing,
  type ModelEvent,
  type ModelSettings,
  type Step,
  type Verdict,
} from './session-model.js';
import { createStage, SENDER, toIncoming, type Stage } from './stage.js';

/** Histories played twice, by the product and by the model of the rules, and what differs. */

export interface History {
  readonly settings: ModelSettings;
  readonly steps: readonly Step[];
}

/** Who takes a step: two servers on one database, each with its own memory of users; or servers that plan everything. */
export type Servers = 'TWO' | 'PLAN_ONLY';

const eventText = ({ type, t, user, sessionKey, referenceId, id, startPolicy }: ModelEvent): string => {
  const notes = [
    user,
    sessionKey && `key ${sessionKey}`,
    referenceId && `reference ${referenceId}`,
    id && `id ${id}`,
    startPolicy,
  ];
  return `${type}@${t ?? 'now'} (${notes.filter((note) => note !== undefined).join(', ') || 'nobody'})`;
};

const stepText = (step: Step): string => {
  if ('events' in step) {
    const sent = step.sentAt === undefined ? '' : ` sentAt ${step.sentAt}`;
    return `request${sent}: ${step.events.map(eventText).join(', ')}`;
  }
  if ('beat' in step)
    return `recordHeartbeat${step.close ? ' close' : ''} (${step.beat.identity ?? `key ${step.beat.sessionKey}`})`;
  if ('closer' in step) return step.closer === 0 ? 'closer' : `closer ${step.closer} s ahead`;
  return `settings ${JSON.stringify(step.settings)}`;
};

/** A history as a list to read. */
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

const SESSION_TEXT = `SELECT s.id, u.identity, s.key, s.started_at, s.last_activity_at, s.ended_at, s.end_reason, s.event_count, s.error_count
  FROM sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id WHERE s.project_id = $1`;

interface Line {
  id: unknown;
  text: string;
}

const line = (
  user: string | null,
  key: string | null,
  start: number,
  last: number,
  end: number | null,
  reason: string | null,
  events: number,
  errors: number,
): string =>
  `${key === null ? '' : `key ${key} of `}${user ?? 'nobody'}: ${start}..${last} ${end === null ? 'open' : `${reason}@${end}`}, ${events} events${errors ? `, ${errors} errors` : ''}`;

async function sessionsOf(stage: Stage): Promise<Line[]> {
  const seconds = (date: Date): number => (date.getTime() - stage.time(0).getTime()) / 1000;
  const rows = await stage.database.query<any>({ name: 'test.model', text: SESSION_TEXT, values: [stage.projectId] });
  return rows.map((row) => ({
    id: row.id,
    text: line(
      row.identity,
      row.key,
      seconds(row.started_at),
      seconds(row.last_activity_at),
      row.ended_at && seconds(row.ended_at),
      row.end_reason,
      row.event_count,
      row.error_count,
    ),
  }));
}

const codeOf = ({ status, code }: IngestOutcome): string => code ?? status;

const INGEST = `mutation ($events: [EventInput!]!, $sentAt: DateTime) {
  ingestEvents(events: $events, sentAt: $sentAt) { results { status code sessionId eventId } } }`;

const iso = (date: Date | undefined): string | undefined => date && new Date(date).toISOString();

/** Plays the history; null where the product does what the model says, or what differs. */
export async function difference(
  db: TestDatabase,
  second: Database,
  history: History,
  servers: Servers,
): Promise<string | null> {
  const model = new SessionModel(history.settings);
  const plan = servers === 'PLAN_ONLY' ? { shortcut: withoutShortcut } : {};
  const stage = await createStage(db, history.settings, {}, plan);
  const executor = await createExecutor(stage);
  const other = createIngest({
    database: second,
    bus: stage.bus,
    clock: { now: () => stage.now() },
    observe: () => {},
    ...plan,
  });
  const wrong: string[] = [];

  /** The session that answers to an id. */
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
      // A timeout that has changed is brought in step in the background: here before anything else happens.
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

  for (const [number, step] of history.steps.entries()) await play(step, number);
  // Rule 6: what is due by now has ended, whether the closer has run or not.
  const last = history.steps.at(-1)!.at;
  await play({ at: last, closer: 0 }, 0);
  const got = await sessionsOf(stage);
  const expected = model.sessions().map((session) => ({
    session,
    text: line(
      session.user,
      session.key,
      session.start,
      session.last,
      session.end,
      session.reason,
      session.stored.length,
      session.stored.filter(({ type }) => type === 'error').length,
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
    // Rule 27: the id that an event was answered with is, or became, the session that holds the event.
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
