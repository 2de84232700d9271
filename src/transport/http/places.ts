import type { DocumentNode } from 'graphql';
import type { Caller } from '../../domain/access.js';
import { AppError } from '../../errors.js';
import { network } from '../../services/access/rate-limits.js';
import { createCounts } from '../../services/counts.js';
import { holdersOf } from './holders.js';

/** The maximum memory, in bytes, that all open subscriptions of a key may take together. */
const MOST_BYTES_PER_KEY = 128 * 1024 * 1024;
/** A subscription takes this many times the bytes of its request in memory: its text, its variables and its kind. */
const KEPT = 3;
/** Bytes that a parsed document takes for each of its characters, about. */
const READ = 50;

/**
 * The most different selections of the open subscriptions of a narrowed token's users, of a key and of a project on this server.
 * Each change is executed and encoded once for each of them: some 0.2 ms for a small change. Subscribers with the same selection
 * count as one, whichever users or events they watch. An application has some dozens.
 */
const MOST_SELECTIONS = { perUsers: 100, perKey: 250, perProject: 500 };

/** The most open subscriptions of a WebSocket, or of an event stream in single connection mode, and bytes of their requests. */
const MOST_SUBSCRIPTIONS = 100;
const MOST_SUBSCRIPTION_BYTES = 1024 * 1024;

type Leave = () => void;

/**
 * Counts and limits what clients hold open: the sockets and streams of an address and of a key, and the memory of a key's
 * subscriptions and their different selections. Each method throws TOO_MANY_SUBSCRIPTIONS, or returns a function that gives the place back.
 */
export interface Places {
  /** One socket or stream of an address. Null: the address is not known, and nothing is counted. */
  ofAddress(address: string | null): Leave;
  /** One socket or stream of a key. Those of the operator are not counted. */
  ofKey(caller: Caller): Leave;
  /** One subscription. A document or a selection that several subscriptions share counts once. */
  ofSubscription(caller: Caller, asked: Asked): Leave;
  /** Places for the subscriptions of one connection. Each takes its place of the key as well. */
  ofConnection(): Pick<Places, 'ofSubscription'>;
}

/** The size of the request for a subscription, its document, and what it selects of an event (selectionOf). */
interface Asked {
  readonly bytes: number;
  readonly document: DocumentNode;
  readonly selection: string;
}

const tooMany = (what: string): AppError =>
  new AppError('TOO_MANY_SUBSCRIPTIONS', `${what} Close some, or try again later.`, { retryAfter: 5 });

/** A function that calls `leave` at its first call only. */
function once(leave: Leave): Leave {
  let left = false;
  return () => {
    if (left) return;
    left = true;
    leave();
  };
}

/** Counts places by name, at most `most` for each name; 0 is no limit. */
function counter(most: number, refusal: string): (name: string) => Leave {
  const counts = createCounts();
  return (name) => {
    if (most > 0 && counts.of(name) >= most) throw tooMany(refusal);
    counts.add(name, 1);
    return once(() => counts.add(name, -1));
  };
}

/** Counts the different selections of open subscriptions. */
function createSelections(): (caller: Caller, selection: string) => Leave {
  /** By holder: the number of subscriptions with each selection. */
  const open = new Map<string, Map<string, number>>();
  return (caller, selection) => {
    const holders = holdersOf(caller, MOST_SELECTIONS);
    for (const { name, most } of holders) {
      const own = open.get(name);
      if (own && own.size >= most && !own.has(selection))
        throw tooMany(`The open subscriptions select ${most} different things, which is the limit.`);
    }
    for (const { name } of holders) {
      const own = open.get(name) ?? new Map<string, number>();
      open.set(name, own.set(selection, (own.get(selection) ?? 0) + 1));
    }
    return () => {
      for (const { name } of holders) {
        const own = open.get(name)!;
        const left = own.get(selection)! - 1;
        if (left > 0) own.set(selection, left);
        else own.delete(selection);
        if (own.size === 0) open.delete(name);
      }
    };
  };
}

/** The memory of a key's subscriptions, in bytes. */
interface Holding {
  bytes: number;
  /** The number of subscriptions that use each document. */
  readonly documents: Map<DocumentNode, number>;
}

const nothing: Leave = () => {};

/** `perKey`, `perAddress`: the maximum number of sockets and streams on this server; 0 is no limit. */
export function createPlaces({ perKey, perAddress }: { perKey: number; perAddress: number }): Places {
  const addresses = counter(perAddress, `This address has ${perAddress} sockets and streams open, which is the limit.`);
  const keys = counter(perKey, `This key has ${perKey} sockets and streams open, which is the limit.`);
  const selections = createSelections();
  const holdings = new Map<string, Holding>();

  const places: Places = {
    ofAddress: (address) => (address === null ? nothing : addresses(network(address))),
    ofKey: (caller) => (caller.kind === 'operator' ? nothing : keys(caller.keyId)),
    ofSubscription(caller, { bytes, document, selection }) {
      const key = caller.kind === 'operator' ? 'operator' : caller.keyId;
      const holding = holdings.get(key) ?? { bytes: 0, documents: new Map<DocumentNode, number>() };
      const { documents } = holding;
      const read = READ * (document.loc?.source.body.length ?? 0);
      const taken = KEPT * bytes + (documents.has(document) ? 0 : read);
      if (holding.bytes + taken > MOST_BYTES_PER_KEY)
        throw tooMany('The open subscriptions of this key have reached their memory limit.');
      const leaveSelection = selections(caller, selection);
      holding.bytes += taken;
      documents.set(document, (documents.get(document) ?? 0) + 1);
      holdings.set(key, holding);
      return once(() => {
        leaveSelection();
        const left = documents.get(document)! - 1;
        if (left === 0) documents.delete(document);
        else documents.set(document, left);
        // The last subscription of a document gives back the document's bytes.
        holding.bytes -= KEPT * bytes + (left === 0 ? read : 0);
        if (documents.size === 0) holdings.delete(key);
      });
    },
    ofConnection() {
      const open = { count: 0, bytes: 0 };
      return {
        ofSubscription(caller, asked) {
          const { bytes } = asked;
          if (open.count >= MOST_SUBSCRIPTIONS || open.bytes + bytes > MOST_SUBSCRIPTION_BYTES) {
            throw new AppError(
              'TOO_MANY_SUBSCRIPTIONS',
              `A connection has at most ${MOST_SUBSCRIPTIONS} subscriptions open, which were asked for with ${MOST_SUBSCRIPTION_BYTES} bytes together.`,
            );
          }
          const leave = places.ofSubscription(caller, asked);
          open.count += 1;
          open.bytes += bytes;
          return once(() => {
            leave();
            open.count -= 1;
            open.bytes -= bytes;
          });
        },
      };
    },
  };
  return places;
}
