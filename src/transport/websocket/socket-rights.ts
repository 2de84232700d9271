import { callerReachName, type Caller } from '../../domain/access.js';
import { AppError, type ErrorCode } from '../../errors.js';

/** After a refused renewal, a socket may try again after this time. Milliseconds. */
const NEXT_TRY = 1_000;

/** Errors that say nothing about a credential: the same one may be taken at the next try. */
const NOT_REFUSED = new Set<ErrorCode>(['UNAVAILABLE', 'OVERLOADED', 'RATE_LIMITED']);

/** Until when a credential is valid: as a time, and in seconds for clients whose clock is wrong. Null: it does not expire. */
type Validity = { readonly expiresAt: string | null; readonly expiresIn: number | null };

const keyOf = (caller: Caller): string | null => (caller.kind === 'operator' ? null : caller.keyId);

export function validityOf(caller: Caller, now: Date): Validity {
  const expiresAt = caller.kind === 'operator' ? null : caller.expiresAt;
  return {
    expiresAt: expiresAt && expiresAt.toISOString(),
    expiresIn: expiresAt && (expiresAt.getTime() - now.getTime()) / 1000,
  };
}

/**
 * The credential of a WebSocket, and what follows from it: the caller, the place of the key, the end of the socket when the
 * key is revoked or the token expires. A client can replace the credential before it expires, and so keep its subscriptions.
 *
 * The new credential comes as the payload of a `ping`, and the answer is the payload of the `pong`. The protocol allows a
 * payload in both, so every client can send it, and clients that do not know it are not disturbed. The protocol forbids a
 * second `connection_init` (4429). A mutation would be a field of the schema that works over WebSockets alone.
 */
export class SocketRights {
  /** Frees the place of the key. */
  private leave: () => void;
  /** Stops waiting for the end of the right. */
  private forget: () => void;
  /** Renewals run one after another: the last one holds. */
  private renewing: Promise<unknown> = Promise.resolve();
  private refusedAt = -Infinity;
  private isReleased = false;
  /** Called with each new caller. The open subscriptions are here. */
  readonly followers = new Set<(caller: Caller) => void>();

  constructor(
    private readonly does: {
      /** Authenticates a new credential, and charges for it. */
      readonly authenticate: (credential: string) => Promise<Caller>;
      /** Takes the place of a socket of the caller's key. Throws TOO_MANY_SUBSCRIPTIONS. Returns how to free it. */
      readonly takePlace: (caller: Caller) => () => void;
      /** Ends the socket when the key is revoked or the token expires. Returns how to stop waiting for that. */
      readonly endWith: (caller: Caller) => () => void;
      /** Closes a socket whose client has become another user. */
      readonly turnAway: (why: string) => void;
    },
    public credential: string | null,
    public caller: Caller,
  ) {
    this.leave = does.takePlace(caller);
    this.forget = does.endWith(caller);
  }

  /**
   * Replaces the credential. The new one may be of another key of the project, and may have other scopes: they hold from now
   * on, for open subscriptions too. If it is of another project or of other users, the socket closes, so that the client
   * connects again as that user. Throws why it is refused; then everything stays as it was.
   */
  async renew(credential: string): Promise<Caller> {
    const renewed = this.renewing.then(() => this.take(credential));
    this.renewing = renewed.catch(() => {});
    return renewed;
  }

  release(): void {
    this.isReleased = true;
    this.forget();
    this.leave();
  }

  private async take(credential: string): Promise<Caller> {
    if (performance.now() - this.refusedAt < NEXT_TRY) {
      throw new AppError('RATE_LIMITED', 'The last token was refused. Send the next one a second later.', {
        retryAfter: 1,
      });
    }
    try {
      const caller = await this.does.authenticate(credential);
      // If the socket has closed meanwhile, nobody would free what is taken now.
      if (!this.isReleased) this.hold(credential, caller);
      return caller;
    } catch (error) {
      const isRefused = error instanceof AppError && !NOT_REFUSED.has(error.code);
      if (isRefused) this.refusedAt = performance.now();
      throw error;
    }
  }

  private hold(credential: string, caller: Caller): void {
    if (callerReachName(caller) !== callerReachName(this.caller)) {
      const why = 'The token is of another project, or of other users';
      this.does.turnAway(why);
      throw new AppError('FORBIDDEN', `${why}. Connect again with the new token.`);
    }
    if (keyOf(caller) !== keyOf(this.caller)) {
      const leave = this.does.takePlace(caller);
      this.leave();
      this.leave = leave;
    }
    this.forget();
    this.forget = this.does.endWith(caller);
    this.credential = credential;
    this.caller = caller;
    for (const follow of this.followers) follow(caller);
  }
}
