/** The most messages without a price of a client in a second. Clients send one in some seconds. */
const MOST_A_SECOND = 100;

/**
 * Counts the messages of a WebSocket that cost no points: pings, pongs and the ends of operations. A client that floods the server
 * with them is cut. Each operation has paid for one end, so a page that ends all of its operations at once is no flood.
 */
export class ControlRate {
  private count = 0;
  private since = -Infinity;
  private paidEnds = 0;

  constructor(private readonly most = MOST_A_SECOND) {}

  /** An operation has come, which is charged. */
  allowEnd(): void {
    this.paidEnds += 1;
  }

  /** Counts the end of an operation. False: there were too many messages in this second. */
  takeEnd(now = performance.now()): boolean {
    if (this.paidEnds === 0) return this.take(now);
    this.paidEnds -= 1;
    return true;
  }

  /** Counts a message. False: there were too many in this second. `now`: monotonic, in milliseconds. */
  take(now = performance.now()): boolean {
    if (now - this.since >= 1_000) {
      this.since = now;
      this.count = 0;
    }
    this.count += 1;
    return this.count <= this.most;
  }
}
