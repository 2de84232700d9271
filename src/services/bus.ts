/**
 * The bus carries changes from the server that committed them to every server that watches. It makes watching fast, but it
 * is not the source of truth: the rows are the state. A watcher that may have missed a message is told so, and reads the
 * rows again. There are two adapters: src/adapters/memory-bus.ts and src/adapters/redis/redis-bus.ts. test/contracts/bus.ts
 * tests both against this contract.
 */
export interface Bus {
  /** Resolves when the bus has taken the message. Rejects if it cannot; the message is then lost. */
  publish(channel: string, message: string): Promise<void>;
  /**
   * Resolves when the subscription is confirmed. Every message published after that reaches every subscriber, in the order
   * in which its publisher sent it, or `onLoss` is called. A listener must not throw.
   */
  subscribe(channel: string, listener: BusListener): Promise<BusSubscription>;
  /** False while the connection is down. */
  readonly connected: boolean;
  close(): Promise<void>;
}

export interface BusListener {
  readonly onMessage: (message: string) => void;
  /**
   * Messages are being missed (the connection is lost), or were missed: another server reports that it could not publish
   * its messages for this channel.
   */
  readonly onLoss: () => void;
  /** A lost connection is back. From now on messages arrive without a gap. */
  readonly onGap: () => void;
}

export interface BusSubscription {
  /** Idempotent. After this the listener is not called again. */
  close(): Promise<void>;
}
