/** Where a request comes from, as its connection shows it. */
export interface Sender {
  /**
   * The address of the client that is connected; behind a proxy that the operator trusts, the address that the proxy names.
   */
  readonly ipAddress: string | null;
  /** The request's User-Agent. */
  readonly userAgent: string | null;
}
