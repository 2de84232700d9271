/**
 * The bus carries what has just changed from the server that committed it to every server that watches.
 * It is an accelerator, never the truth: rows are the state, and a watcher that may have missed something
 * is told so and reads them again. Two adapters: src/adapters/memory-bus.ts, src/adapters/redis-bus.ts;
 * test/contracts/bus.ts holds both to this.
 */
export interface Bus {
  /** Resolves once the bus has taken the message. Rejects where it cannot; the message is then lost. */
  publish(channel: string, message: string): Promise<void>;
  /**
   * Resolves when the subscription is confirmed: whatever is published after that arrives, in the order
   * of publishing for one publisher, on every subscriber, or `onLoss` is called. A listener must not throw.
   */
  subscribe(channel: string, listener: BusListener): Promise<BusSubscription>;
  /** False while the connection is down. */
  readonly connected: boolean;
  close(): Promise<void>;
}

export interface BusListener {
  readonly onMessage: (message: string) => void;
  /**
   * Messages are being missed (the connection is lost), or have been: another server says that it could not publish
   * what it had for this channel.
   */
  readonly onLoss: () => void;
  /** A lost connection is back: messages after this are whole again. */
  readonly onGap: () => void;
}

export interface BusSubscription {
  /** Idempotent. No call to the listener follows. */
  close(): Promise<void>;
}
