/**
 * The most bytes of pages that all subscribers of a server hold together. A page has some 250 kB, or 8 MB if its events are large.
 * Without this limit, subscribers that come from an old cursor and do not read fill the memory, each with a page.
 */
const MOST_BYTES = 256 * 1024 * 1024;
/** Who has taken nothing for so long does not read. Milliseconds. */
const IDLE = 5_000;

/** Who holds pages. */
export interface PageHolder {
  /** Forgets its pages. It reads them again when it needs them. */
  dropPages(): void;
}

interface Held {
  bytes: number;
  takenAt: number;
}

/**
 * The pages of the feed that subscribers have read and not taken yet. If there are too many, others than the one that reads lose
 * theirs: first whoever has taken nothing for longest; if all of them read, any of them. (Always the one that took longest ago
 * would be the one whose turn comes next: then everybody would read a page for each change.)
 */
export class HeldPages {
  private readonly held = new Map<PageHolder, Held>();
  private bytes = 0;

  constructor(
    private readonly most = MOST_BYTES,
    /** Monotonic, in milliseconds. */
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** The holder has read a page of so many bytes. */
  add(holder: PageHolder, bytes: number): void {
    const known = this.held.get(holder);
    this.held.set(holder, { bytes: bytes + (known?.bytes ?? 0), takenAt: this.now() });
    this.bytes += bytes;
    while (this.bytes > this.most && this.held.size > 1) {
      const victim = this.victimFor(holder);
      this.release(victim);
      victim.dropPages();
    }
  }

  /** The holder has taken a change of its pages. */
  taken(holder: PageHolder): void {
    const known = this.held.get(holder);
    if (known) known.takenAt = this.now();
  }

  /** The holder has no pages any more. */
  release(holder: PageHolder): void {
    this.bytes -= this.held.get(holder)?.bytes ?? 0;
    this.held.delete(holder);
  }

  private victimFor(reader: PageHolder): PageHolder {
    const others = [...this.held].filter(([holder]) => holder !== reader);
    let [oldest, { takenAt }] = others[0]!;
    for (const [holder, other] of others) if (other.takenAt < takenAt) [oldest, takenAt] = [holder, other.takenAt];
    if (takenAt < this.now() - IDLE) return oldest;
    return others[Math.floor(Math.random() * others.length)]![0];
  }
}
