// Preloaded into a server: makes the clock of its machine wrong by WRONG_CLOCK milliseconds.
const offset = Number(process.env.WRONG_CLOCK);
const Right = Date;

globalThis.Date = class extends Right {
  constructor(...given) {
    if (given.length === 0) super(Right.now() + offset);
    else super(...given);
  }
  static now() {
    return Right.now() + offset;
  }
};
