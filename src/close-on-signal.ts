/**
 * A press of Ctrl-C reaches every process of a terminal, npm and the server alike, and npm hands its own on: signals
 * within this time of the first are the same press. Milliseconds.
 */
const SAME_PRESS = 1_000;
/** Once it has started, within the 10 seconds that process managers allow. Milliseconds. */
const LONGEST_CLOSE = 9_500;

/** What somebody sends who wants the process to end: a process manager, Ctrl-C, a terminal that is closed. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * From the first signal on, closes what has started as soon as it has, then exits with 0. A signal a second later or
 * more exits at once with 1, as does a close that takes too long or fails, which is told to `fail`. Answers a function
 * that says whether a signal has come.
 */
export function closeOnSignal(
  starting: Promise<{ close(reason: string): Promise<void> }>,
  fail: (error: unknown) => void,
): () => boolean {
  let first: number | null = null;
  function onSignal(signal: string): void {
    if (first !== null) {
      if (performance.now() - first >= SAME_PRESS) process.exit(1);
      return;
    }
    first = performance.now();
    starting
      .then((app) => {
        setTimeout(() => process.exit(1), LONGEST_CLOSE).unref();
        return app.close(signal);
      })
      .then(() => process.exit(0), fail);
  }
  for (const signal of SIGNALS) process.on(signal, onSignal);
  // What is said to a terminal that was closed reaches nobody.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return () => first !== null;
}
