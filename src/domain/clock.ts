/** Where "now" comes from. Time is always a parameter: tests turn the hands themselves. */
export interface Clock {
  /** The current instant. Servers align theirs to Postgres (see adapters), so that they agree with each other. */
  now(): Date;
}
