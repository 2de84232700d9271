/** Work that is done again and again while the server runs. */
export interface TimedDuty {
  /**
   * Does the work every `interval` from now on, measured from the end of the last time, so that it never overlaps itself.
   * The first time is after `first` milliseconds, if given.
   */
  start(first?: number): void;
  /** Ends the schedule, and waits for work that is under way. */
  close(): Promise<void>;
}

/** If the work fails, `onError` gets the error, and the next time comes as usual. `interval` in milliseconds. */
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
