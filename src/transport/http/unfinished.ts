/** The maximum number of bytes of all parts together: sixteen of the largest bodies. */
const MOST = 128 * 1024 * 1024;
/** The received bytes of one message or body that is not complete. */
interface Part {
  /** This many more bytes have arrived. */
  add(bytes: number): void;
  /** This many of its bytes belonged to another message, which is complete. */
  take(bytes: number): void;
  /** The message or body is complete or given up. */
  done(): void;
}

/** The received bytes of messages and bodies that are not complete, of all connections together. */
export interface Unfinished {
  /** Begins a message or body. `cut` ends its connection. */
  begin(cut: () => void): Part;
}

/**
 * Limits the bytes that wait for the end of their message. Above the limit, the server cuts the connection that holds the
 * most, so that connections that hold little do not suffer from those that hold a lot.
 */
export function createUnfinished(most = MOST): Unfinished {
  /** The parts that have bytes. */
  const held = new Map<Part, { readonly bytes: number; readonly cut: () => void }>();
  let total = 0;

  function cutLargest(): void {
    let largest: Part | null = null;
    for (const [part, { bytes }] of held) if (!largest || bytes > held.get(largest)!.bytes) largest = part;
    const { cut } = held.get(largest!)!;
    largest!.done();
    cut();
  }

  /** Each socket has one. It is a class, because the methods of a class take no memory in each object. */
  class OwnPart implements Part {
    constructor(private readonly cut: () => void) {}

    add(bytes: number): void {
      held.set(this, { bytes: (held.get(this)?.bytes ?? 0) + bytes, cut: this.cut });
      total += bytes;
      while (total > most) cutLargest();
    }

    take(bytes: number): void {
      const left = (held.get(this)?.bytes ?? 0) - bytes;
      this.done();
      if (left > 0) this.add(left);
    }

    done(): void {
      total -= held.get(this)?.bytes ?? 0;
      held.delete(this);
    }
  }

  return { begin: (cut) => new OwnPart(cut) };
}
