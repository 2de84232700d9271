/** How long the database may say nothing at all before it is asked whether it is there. Milliseconds. */
const PATIENCE = 2_000;
/** How often that is looked at, and how often a silent database is asked again. Milliseconds. */
const INTERVAL = 250;

export interface SilenceWatch {
  /** Does work that waits for the database; while the database is silent, it fails at once. */
  during<Result>(work: () => Promise<Result>): Promise<Result>;
  close(): void;
}

/**
 * Notices a database that is neither there nor gone: a network that swallows everything ends no connection,
 * and whoever waits for an answer would wait for many minutes. Where nothing is answered for 2 seconds though
 * somebody waits, `probe` asks on a connection of its own. A database that is merely slow answers that one; where
 * it does not, `onSilent` gives up what is under way, and everything fails at once until a probe is answered.
 */
export function createSilenceWatch(options: {
  probe: () => Promise<boolean>;
  onSilent: () => void;
  /** What work fails with meanwhile. */
  silent: () => Error;
}): SilenceWatch {
  let waiting = 0;
  let lastAnswer = 0;
  let isSilent = false;
  let timer: NodeJS.Timeout | null = null;
  let closed = false;

  function schedule(): void {
    if (timer || closed || (waiting === 0 && !isSilent)) return;
    timer = setTimeout(() => void look(), INTERVAL);
    timer.unref();
  }

  async function look(): Promise<void> {
    if (isSilent || performance.now() - lastAnswer > PATIENCE) {
      const answers = await options.probe();
      if (answers) lastAnswer = performance.now();
      else if (!isSilent && waiting > 0 && !closed) options.onSilent();
      isSilent = !answers;
    }
    timer = null;
    schedule();
  }

  return {
    async during(work) {
      if (isSilent) throw options.silent();
      if (waiting === 0) lastAnswer = performance.now();
      waiting += 1;
      schedule();
      try {
        return await work();
      } finally {
        waiting -= 1;
        lastAnswer = performance.now();
      }
    },
    close() {
      closed = true;
      if (timer) clearTimeout(timer);
    },
  };
}
