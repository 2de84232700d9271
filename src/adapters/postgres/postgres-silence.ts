/** How long the database may be silent while a caller waits, before it is probed. Milliseconds. */
const PATIENCE = 2_000;
/** How often this is checked, and the pause between probes of a silent database. Milliseconds. */
const INTERVAL = 250;

export interface SilenceWatch {
  /** Runs work that waits for the database. While the database is silent, it fails at once. */
  during<Result>(work: () => Promise<Result>): Promise<Result>;
  close(): void;
}

/**
 * Detects a database that does not answer although its connections are open. If the network drops all packets, no
 * connection ends, and callers would wait for many minutes. If a caller waits and there is no answer for 2 seconds,
 * `probe` asks on a new connection. A database that is only slow answers the probe. If it does not, `onSilent` gives up
 * the running work, and all work fails at once until a probe is answered.
 */
export function createSilenceWatch(options: {
  probe: () => Promise<boolean>;
  onSilent: () => void;
  /** The error of work that is tried while the database is silent. */
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
