interface Waiting<Ask, Answer> {
  readonly ask: Ask;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Joins the reads of callers that ask at the same moment. One read runs at a time, and it begins after all asks that it
 * answers. A caller that asks while a read is under way gets the result of the next read. So the number of statements
 * depends on how long a read takes, not on how many callers ask. `read` answers in the order of the asks; if it fails, all
 * its asks fail. `most` is the most that one read takes, in the units of `weightOf`; an ask that is heavier is read alone.
 */
export function joinReads<Ask, Answer>(
  read: (asks: readonly Ask[]) => Promise<readonly Answer[]>,
  { most = Infinity, weightOf = () => 1 }: { most?: number; weightOf?: (ask: Ask) => number } = {},
): (ask: Ask) => Promise<Answer> {
  let waiting: Waiting<Ask, Answer>[] = [];
  let running = false;

  function take(): Waiting<Ask, Answer>[] {
    let weight = 0;
    const end = waiting.findIndex(({ ask }, at) => (weight += weightOf(ask)) > most && at > 0);
    const taken = end < 0 ? waiting : waiting.slice(0, end);
    waiting = waiting.slice(taken.length);
    return taken;
  }

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const taken = take();
      try {
        const answers = await read(taken.map(({ ask }) => ask));
        for (const [at, { resolve }] of taken.entries()) resolve(answers[at]!);
      } catch (error) {
        for (const { reject } of taken) reject(error);
      }
    }
    running = false;
  }

  return (ask) =>
    new Promise((resolve, reject) => {
      waiting.push({ ask, resolve, reject });
      if (running) return;
      running = true;
      // One turn of the event loop later, together with all that was read from the sockets in this turn. Errors go to the
      // callers that asked, so run() never rejects.
      setImmediate(() => void run());
    });
}
