/**
 * Signals within this time of the first one, in milliseconds, count as the same press of Ctrl-C. A press reaches every process
 * of a terminal, so npm and the server both get it, and npm sends its signal on to the server.
 */
const SAME_PRESS = 1_000;
/**
 * The maximum time from the signal to the end, in milliseconds. Process managers allow 10 seconds. A start that waits, for the lock of
 * a table for example, ends with it: the next start does again what was not complete.
 */
const LONGEST_CLOSE = 9_500;

/** Signals that end the process: from a process manager, from Ctrl-C, and from a terminal that closes. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * At the first signal, waits until `starting` resolves, closes it and exits with 0. If the start or the close fails, calls
 * `fail` with the error. Another signal after a second or more exits at once with 1, and so does what takes too long.
 * Returns a function that tells whether a signal has arrived.
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
    setTimeout(() => process.exit(1), LONGEST_CLOSE).unref();
    starting.then((app) => app.close(signal)).then(() => process.exit(0), fail);
  }
  for (const signal of SIGNALS) process.on(signal, onSignal);
  // Writing to a closed terminal fails; this failure is ignored.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return () => first !== null;
}
