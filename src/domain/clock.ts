/** The source of "now". Time is always a parameter, so that tests can set it. */
export interface Clock {
  /** The current instant. Each server aligns its clock to Postgres (see adapters), so that the servers agree. */
  now(): Date;
}
