import type { ExecutionArgs, ExecutionResult, GraphQLError } from 'graphql';
import { projectNameOf, type Caller } from '../../domain/access.js';
import type { Observer } from '../../observation.js';
import type { Context } from '../../schema/context.js';
import { checkSubscriptionScope } from '../../schema/scopes.js';
import { createBeside } from './beside.js';
import { openSource } from './compiled-operations.js';
import { SharedText, type Deflater } from './deflate.js';
import { admitOperation } from './graphql.js';
import type { LargeSends } from './large-sends.js';
import type { Line } from './line.js';
import { MessageTurns, SEND, SENDING } from './message-turns.js';
import { isLost, type ShareExecution } from './shared-executions.js';

/**
 * Subscriptions on connections that carry several: WebSockets, and event streams in single connection mode. A service
 * hands one event object to many subscribers. Subscribers that select the same of it with the same rights share one execution
 * and one encoded text. So the cost of an event follows the number of different subscriptions, and each subscriber costs
 * one write to its connection.
 */
export interface SharedSubscriptions {
  /**
   * Opens a subscription and sends its messages to the subscriber. Errors before the first event are returned as a result.
   * Throws if a limit refuses it.
   */
  subscribe(args: ExecutionArgs, to: Subscriber): Promise<Subscription | ExecutionResult>;
  /** The server has accepted a connection. */
  connectionCame(): void;
}

/**
 * An open subscription. The iterator yields nothing; it ends with the subscription, or throws the error with which it fails.
 */
export interface Subscription extends AsyncIterableIterator<never> {
  return(): Promise<IteratorResult<never>>;
  /** Makes all further messages with this caller's rights. If they do not suffice, the subscription fails with FORBIDDEN. */
  renew(caller: Caller): void;
  /** Ends the subscription with this error. No message follows, not even one that is being made. */
  refuse(why: Error): void;
}

interface Subscriber {
  readonly isOpen: () => boolean;
  /** The line of its connection: a message is made and sent when the connection has room for it. */
  readonly line: Line;
  /** Whether it takes large messages compressed: then they are, before they are sent. */
  readonly inflates: boolean;
  readonly send: (message: Message) => void;
  /** Replaces the errors of a result by those that the caller may see. */
  readonly mask: (result: ExecutionResult) => ExecutionResult;
}

/** A result, encoded once for all connections that wait for it. */
export class Message {
  /** The result, and the bracket that closes the object around it: both protocols have one. */
  readonly rest: SharedText;
  /** The message that was made last: some clients use the same id for all their subscriptions, others never. */
  private last: { readonly head: string; readonly whole: Buffer } | null = null;

  constructor(result: ExecutionResult) {
    this.rest = new SharedText(Buffer.from(`${JSON.stringify(result)}}`));
  }

  /** Then the result is sent as a part of its own, which connections share: a copy for each would fill the memory. */
  get isLarge(): boolean {
    return this.rest.isLarge;
  }

  /** A small message in one piece: `head`, the result, the bracket, `tail`. More pieces would take as long as all else. */
  between(head: string, tail: string): Buffer {
    if (this.last?.head === head) return this.last.whole;
    const { text } = this.rest;
    const before = Buffer.byteLength(head);
    const after = before + text.length;
    const whole = Buffer.allocUnsafe(after + Buffer.byteLength(tail));
    whole.write(head);
    text.copy(whole, before);
    whole.write(tail, after);
    this.last = { head, whole };
    return whole;
  }
}

export function createSharedSubscriptions(deps: {
  share: ShareExecution;
  largeSends: LargeSends;
  deflater: Deflater;
  observe: Observer;
}): SharedSubscriptions {
  const { share, largeSends, deflater, observe } = deps;
  let sent = 0;
  const turns = new MessageTurns(SENDING, () => sent * SEND);
  /** The message of each result. */
  const made = createBeside<Message>();
  /** The masked errors, by the error with which subscriptions fail. Those that share a result share its error, and log it once. */
  const told = new WeakMap<object, GraphQLError>();
  let delivered = 0;

  /** Counts a delivered message. All messages of one turn of the event loop are observed together. */
  function delivers(): void {
    delivered += 1;
    if (delivered > 1) return;
    setImmediate(() => {
      observe({ kind: 'messages.delivered', count: delivered });
      delivered = 0;
    });
  }

  function messageOf(result: ExecutionResult, mask: (result: ExecutionResult) => ExecutionResult): Message {
    let message = made.get(result);
    if (!message) made.set(result, (message = new Message(mask(result))));
    return message;
  }

  function toldError(error: object, mask: (result: ExecutionResult) => ExecutionResult): GraphQLError {
    let masked = told.get(error);
    if (!masked) told.set(error, (masked = mask({ errors: [error as GraphQLError] }).errors![0]!));
    return masked;
  }

  return {
    connectionCame() {
      turns.connectionCame();
      largeSends.connectionCame();
    },
    async subscribe(args, { isOpen, line, inflates, send, mask }) {
      await admitOperation(args);
      // After the source is open, each error must also close it.
      let execute = share(args);
      const source = await openSource(args);
      if (!(Symbol.asyncIterator in source)) return mask(source);
      const events = source as AsyncGenerator<object>;
      const project = projectNameOf((args.contextValue as Context).caller);
      let refusal: Error | null = null;
      let isGivenUp = false;
      const isWanted = (): boolean => !refusal && !isGivenUp && isOpen();
      const nothing = (): void => {};
      /** Gives up the large message that waits for its turn. */
      let giveUp = nothing;
      /** The event and then the message that is next. None of them is kept while the subscription waits for another event. */
      let event: object | null = null;
      let message: Message | null = null;

      // The functions below are made once for a subscription, and an event that nobody has to wait for passes them without
      // a promise: an edge goes to thousands of subscribers.

      function sendNow(): void {
        if (isWanted()) {
          send(message!);
          sent += 1;
          delivers();
        }
        message = null;
      }

      /** Sends a large message when its turn has come. Resolves when it is written, or was given up. */
      function sendInTurn(): Promise<void> {
        // It may have been given up while it was compressed.
        if (!isWanted()) {
          message = null;
          return Promise.resolve();
        }
        return new Promise<void>((resolve) => {
          const done = (): void => {
            // It would keep the message in memory.
            giveUp = nothing;
            message = null;
            resolve();
          };
          const leave = largeSends.add(project, () => {
            sendNow();
            done();
          });
          giveUp = () => {
            leave();
            done();
          };
        });
      }

      function sendResult(result: ExecutionResult): void | Promise<void> {
        // The token may have been renewed while the message was made.
        if (!isWanted()) return undefined;
        if (isLost(result)) throw result.errors![0]!;
        message = messageOf(result, mask);
        if (!message.isLarge) return turns.begin(project, sendNow);
        return inflates ? message.rest.compress(deflater, project).then(sendInTurn) : sendInTurn();
      }

      /** Makes the message of the event and sends it. */
      function tell(): void | Promise<void> {
        if (!isWanted()) return undefined;
        const result = execute(event!);
        event = null;
        return result instanceof Promise ? result.then(sendResult) : sendResult(result);
      }

      const end = new Promise<IteratorResult<never>>((resolve, reject) => {
        /** Ends the source, and then the subscription: with this failure, or that of a refusal. */
        function finish(failure: Error | null): void {
          const settle = (): void => {
            const why = failure ?? refusal;
            // The connection sends the error to the client as it is, so it is masked here.
            if (why) reject(toldError(why, mask));
            else resolve({ value: undefined, done: true });
          };
          void events.return(undefined).then(settle, settle);
        }

        function goOn(): void {
          if (isWanted()) void events.next().then(arrived, finish);
          else finish(null);
        }

        function arrived({ value, done }: IteratorResult<object>): void {
          if (done) {
            finish(null);
            return;
          }
          event = value;
          try {
            const telling = line.during(tell);
            if (telling) telling.then(goOn, finish);
            else goOn();
          } catch (error) {
            finish(error as Error);
          }
        }

        goOn();
      });
      // An iterating caller gets the error. If nobody iterates any more, nobody needs it.
      end.catch(() => {});
      const subscription: Subscription = {
        next: () => end,
        async return() {
          isGivenUp = true;
          giveUp();
          await events.return(undefined);
          return { value: undefined, done: true };
        },
        [Symbol.asyncIterator]: () => subscription,
        renew(caller) {
          try {
            checkSubscriptionScope(args, caller);
            execute = share({ ...args, contextValue: { ...(args.contextValue as Context), caller } });
          } catch (error) {
            subscription.refuse(error as Error);
          }
        },
        refuse(why) {
          refusal ??= why;
          giveUp();
          void events.return(undefined);
        },
      };
      return subscription;
    },
  };
}
