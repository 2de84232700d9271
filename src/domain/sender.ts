/** Where a request comes from, as its connection shows it. */
export interface Sender {
  /** The address of whoever connected, or, behind a proxy that the operator trusts, of whom it speaks for. */
  readonly ipAddress: string | null;
  /** The request's User-Agent. */
  readonly userAgent: string | null;
}
