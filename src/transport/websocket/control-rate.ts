/** The most pings and pongs of a client in a second. Clients send one in some seconds. */
const MOST_A_SECOND = 100;

/** Counts the pings and pongs of a WebSocket. They cost no points, so a client that floods the server with them is cut. */
export class ControlRate {
  private count = 0;
  private since = -Infinity;

  constructor(private readonly most = MOST_A_SECOND) {}

  /** Counts one. False: there were too many in this second. `now`: monotonic, in milliseconds. */
  take(now = performance.now()): boolean {
    if (now - this.since >= 1_000) {
      this.since = now;
      this.count = 0;
    }
    this.count += 1;
    return this.count <= this.most;
  }
}
