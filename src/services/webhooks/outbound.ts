/** A message to a receiver, with all its headers except those of HTTP itself. */
export interface OutboundMessage {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/**
 * What came of a message. ANSWERED: the head of the receiver's answer. FAILED: the receiver did not answer; its name, its
 * address, its certificate or its connection is at fault, or it took too long. TROUBLE: this server could not send; that
 * says nothing of the receiver.
 */
export type OutboundAnswer =
  | { readonly kind: 'ANSWERED'; readonly status: number; readonly retryAfter: string | undefined }
  | {
      readonly kind: 'FAILED' | 'TROUBLE';
      /** A sentence for the owner of the webhook. */
      readonly why: string;
      /** More, for the log alone: it may say what is in the operator's network. */
      readonly detail?: string;
    };

/** Sends messages to receivers. src/adapters/outbound.ts implements it. */
export interface Outbound {
  /** Whether the server may send to this URL at all, as far as its text tells; null, or why not. */
  refusal(url: string): string | null;
  /**
   * Sends a message by POST. Never rejects, follows no redirect, and resolves within ANSWER_WITHIN (domain/webhook) and a
   * second. If the signal is aborted it resolves at once, with TROUBLE.
   */
  post(message: OutboundMessage, signal: AbortSignal): Promise<OutboundAnswer>;
}
