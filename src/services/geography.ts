/** A place, as well as an IP address tells it. */
export interface Place {
  /** ISO 3166-1 alpha-2. */
  readonly country: string;
  readonly region: string | null;
  readonly city: string | null;
}

/** Knows where IP addresses are. */
export interface Geography {
  /** Null for an address that it does not know, or that is none. */
  locate(ipAddress: string): Place | null;
}
