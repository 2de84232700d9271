/** Lets at most `most` works run at a time, each only when `mayBegin` says so. The others wait in line. */
export class Line {
  private running = 0;
  private readonly waiting: (() => void)[] = [];
  private isLooking = false;

  constructor(
    private readonly most: number,
    private readonly mayBegin: () => boolean = () => true,
  ) {}

  get isIdle(): boolean {
    return this.running === 0 && this.waiting.length === 0;
  }

  /** Does the work at once, or when its turn has come; then it returns a promise. Returns what the work returns. */
  during<Result>(work: () => Result | Promise<Result>): Result | Promise<Result> {
    if (this.waiting.length === 0 && this.hasPlace()) return this.run(work);
    return new Promise<Result>((resolve, reject) => {
      this.waiting.push(() => {
        try {
          resolve(this.run(work));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /** Begins the works that may begin. To be called when `mayBegin` may have changed. */
  look(): void {
    // A work that is done at once looks too, when it leaves. The loop that began it goes on anyway.
    if (this.isLooking) return;
    this.isLooking = true;
    while (this.waiting.length > 0 && this.hasPlace()) this.waiting.shift()!();
    this.isLooking = false;
  }

  private run<Result>(work: () => Result | Promise<Result>): Result | Promise<Result> {
    this.running += 1;
    let result: Result | Promise<Result>;
    try {
      result = work();
    } catch (error) {
      this.leave();
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.leave());
    this.leave();
    return result;
  }

  private leave(): void {
    this.running -= 1;
    if (this.waiting.length > 0) this.look();
  }

  private hasPlace(): boolean {
    return this.running < this.most && this.mayBegin();
  }
}
