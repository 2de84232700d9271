/** A place, as exactly as an IP address tells it. */
export interface Place {
  /** ISO 3166-1 alpha-2. */
  readonly country: string;
  readonly region: string | null;
  readonly city: string | null;
}

/** Finds the places of IP addresses. */
export interface Geography {
  /** Null if the address is not known, or is no IP address. */
  locate(ipAddress: string): Place | null;
}
