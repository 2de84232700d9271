/** The time between two checks of the keys that wait. Milliseconds. */
const TICK = 50;

/**
 * Hands on the keys that have changed, each key at most once per `interval` (milliseconds). The first change of a key is handed
 * on after one TICK. If the key changes again, it is handed on again when the interval is over. So the latest state is always
 * handed on. `together`: all keys have one interval, so keys are handed on at most once per interval.
 */
export class PacedChanges {
  private readonly waiting = new Set<string>();
  /** When a key, or '' for all keys together, was handed on last: the oldest first. The entry is deleted after an interval. */
  private readonly handed = new Map<string, number>();
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly interval: number,
    private readonly handOn: (keys: readonly string[]) => void,
    private readonly together = false,
  ) {}

  add(key: string): void {
    this.waiting.add(key);
    this.timer ??= setTimeout(() => this.look(), TICK);
  }

  close(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.waiting.clear();
  }

  private look(): void {
    this.timer = null;
    const now = performance.now();
    for (const [key, at] of this.handed) {
      if (now - at < this.interval) break;
      this.handed.delete(key);
    }
    const paceOf = (key: string): string => (this.together ? '' : key);
    const due = [...this.waiting].filter((key) => !this.handed.has(paceOf(key)));
    for (const key of due) {
      this.waiting.delete(key);
      this.handed.set(paceOf(key), now);
    }
    if (this.waiting.size > 0) this.timer = setTimeout(() => this.look(), TICK);
    if (due.length > 0) this.handOn(due);
  }
}
