/** Something that is done again and again while the server runs. */
export interface TimedDuty {
  /** Does it every `interval` from now on, counted from the end of the time before: it never overlaps itself. The first time is `first` milliseconds from now, if given. */
  start(first?: number): void;
  /** Ends the schedule and waits for what is under way. */
  close(): Promise<void>;
}

/** A duty that fails is told to `onError`; the next time comes as if nothing had been. `interval` in milliseconds. */
export function createTimedDuty(
  interval: number,
  run: () => Promise<unknown>,
  onError: (error: unknown) => void,
): TimedDuty {
  let timer: NodeJS.Timeout | null = null;
  let closed = false;
  let running: Promise<void> = Promise.resolve();

  async function once(): Promise<void> {
    try {
      await run();
    } catch (error) {
      onError(error);
    }
    schedule();
  }

  function schedule(delay = interval): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = once();
    }, delay);
  }

  return {
    start: schedule,
    async close() {
      closed = true;
      if (timer) clearTimeout(timer);
      await running;
    },
  };
}
