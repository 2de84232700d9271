import type { Queryable } from './database.js';

/** Sends its statements as soon as it is called, before it waits for anything. */
type Send<Answer> = (on: Queryable) => Promise<Answer>;
type AnswerOf<Sent> = Sent extends Send<infer Answer> ? Answer : null;

/**
 * Sends statements in a transaction in the order of the list, without waiting for answers. Postgres runs them in that
 * order. Returns the answer of each function; null for a null in the list. When one fails, the later ones fail too, and
 * the error is that of the first.
 *
 * This function itself enforces the order: a function that sends a statement after it has waited fails. If `pause` is
 * given, it is awaited after each function, so that other work gets a turn while long statements are built.
 */
export async function sendInOrder<const Sends extends readonly (Send<unknown> | null)[]>(
  tx: Queryable,
  sends: Sends,
  pause: (() => Promise<unknown>) | null = null,
): Promise<{ -readonly [At in keyof Sends]: AnswerOf<Sends[At]> }> {
  const answers: Promise<unknown>[] = [];
  for (const send of sends) {
    if (!send) {
      answers.push(Promise.resolve(null));
      continue;
    }
    let isItsTurn = true;
    const answer = send({
      async query(statement) {
        if (!isItsTurn)
          throw new Error(
            `${statement.name} was sent too late: its function must send all statements before it waits.`,
          );
        return tx.query(statement);
      },
    });
    isItsTurn = false;
    // An error during a pause is reported below.
    answer.catch(() => {});
    answers.push(answer);
    if (pause) await pause();
  }
  return (await Promise.all(answers)) as { -readonly [At in keyof Sends]: AnswerOf<Sends[At]> };
}
