import dns from 'node:dns/promises';
import { request as requestHttp, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, isIPv6, type LookupFunction } from 'node:net';
import { mayConnectTo, type OutboundReach } from '../domain/outbound-address.js';
import { ANSWER_WITHIN } from '../domain/webhook.js';
import type { Outbound, OutboundAnswer } from '../services/webhooks/outbound.js';

/** Bytes of the head of an answer. */
const MOST_HEAD = 16_384;
/** Interim answers (100 Continue, 103 Early Hints) before the answer. */
const MOST_INTERIM = 20;
/** The body of an answer says nothing. It is read this far, in bytes and milliseconds, so that the receiver can finish it. */
const MOST_READ = 4_096;
const READ_WITHIN = 1_000;
/** A query for a name: milliseconds, and how often it is asked. */
const RESOLVE = { timeout: 2_000, tries: 2 };
/** The most addresses of a name that are tried. */
const MOST_ADDRESSES = 16;

/**
 * Errors of this machine or its network, in the words of the system. They say nothing of the receiver. ENETUNREACH is one of them:
 * this machine has no route. So a receiver with IPv6 alone is never given up by servers without it; the deliveries say why
 * nothing comes.
 */
const OWN_TROUBLE: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EADDRNOTAVAIL',
  'ENETDOWN',
  'ENETUNREACH',
]);

const CLOSED = 'The receiver closed the connection without an answer.';

/** What a caller is told of the usual errors. */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'The receiver refused the connection.',
  ECONNRESET: CLOSED,
  EPIPE: CLOSED,
  EHOSTUNREACH: 'The host cannot be reached.',
  ETIMEDOUT: 'The connection was not made in time.',
  HPE_HEADER_OVERFLOW: 'The headers of the answer are too large.',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'The certificate of the receiver is self-signed.',
  SELF_SIGNED_CERT_IN_CHAIN: 'The certificate of the receiver is self-signed.',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'The certificate of the receiver cannot be verified.',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'The certificate of the receiver cannot be verified.',
  CERT_HAS_EXPIRED: 'The certificate of the receiver has expired.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'The certificate of the receiver is for another name.',
};

/**
 * What is told of a host without an address that the server may send to: of one that leads to a forbidden address, and of a name
 * that nobody knows, the same. Otherwise the words would tell which names exist in the operator's network.
 */
const NOT_ALLOWED = {
  public:
    'The host has no public address, as far as its name servers say. The server sends only to addresses of the public Internet (WEBHOOKS_TO).',
  private:
    'The host has no address, as far as its name servers say, or one to which the server never sends: link-local, multicast, reserved, or of a metadata service.',
};

const codeOf = (error: unknown): string => (error as { code?: string } | undefined)?.code ?? '';

const isOwnTrouble = (error: unknown): boolean => OWN_TROUBLE.has(codeOf(error));

/**
 * An error of the attempts at several addresses. If one of them failed by the receiver's fault, it says more than a network of this
 * machine that is not there: a machine without IPv6 cannot reach the second address of most hosts.
 */
function oneOf(error: unknown): unknown {
  if (!(error instanceof AggregateError)) return error;
  const errors = error.errors as unknown[];
  return errors.findLast((one) => !isOwnTrouble(one)) ?? errors.at(-1);
}

/** What came of a message whose connection failed. */
export function failure(error: unknown): OutboundAnswer {
  const code = codeOf(oneOf(error));
  if (OWN_TROUBLE.has(code)) return { kind: 'TROUBLE', why: `The server could not connect (${code}).` };
  if (code.startsWith('HPE_') && !WORDS[code]) return { kind: 'FAILED', why: 'The answer is not HTTP.' };
  return { kind: 'FAILED', why: WORDS[code] ?? `The connection failed${code ? ` (${code})` : ''}.` };
}

/** Finds the addresses of a name. */
interface Names {
  resolve(name: string): Promise<readonly string[]>;
  cancel(): void;
}

/**
 * Asks name servers directly. The system's own look-up would use one of the few threads of the process for as long as
 * somebody's name server is silent.
 */
function askNameServers(servers: readonly string[] | undefined): Names {
  const resolver = new dns.Resolver(RESOLVE);
  if (servers) resolver.setServers(servers);
  return {
    async resolve(name) {
      const asked = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
      const found = asked.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
      if (found.length > 0) return found;
      // The answer for a name that is an alias of a name without addresses is no error, and empty.
      throw asked.find((one) => one.status === 'rejected')?.reason ?? Object.assign(new Error(), { code: 'ENODATA' });
    },
    cancel: () => resolver.cancel(),
  };
}

/** The names of an own network may be in files of the system, such as /etc/hosts. */
const askSystem = (): Names => ({
  resolve: async (name) => (await dns.lookup(name, { all: true })).map(({ address }) => address),
  cancel() {},
});

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '');

export function createOutbound(deps: {
  reach: OutboundReach;
  /** Name servers to ask instead of the system's, as `address:port`. With the reach 'private' too. */
  nameServers?: readonly string[];
  /** Certificates of authorities that are trusted instead of the system's. */
  ca?: string;
  /** Milliseconds. */
  answerWithin?: number;
}): Outbound {
  const { reach, nameServers, ca, answerWithin = ANSWER_WITHIN } = deps;
  const names = (): Names => (reach === 'public' || nameServers ? askNameServers(nameServers) : askSystem());

  function refusal(text: string): string | null {
    if (!URL.canParse(text)) return 'url is not a URL.';
    const url = new URL(text);
    if (url.protocol !== 'https:' && !(reach === 'private' && url.protocol === 'http:'))
      return reach === 'private'
        ? 'url must begin with https:// or http://.'
        : 'url must begin with https:// (http:// needs WEBHOOKS_TO=private).';
    if (url.username !== '' || url.password !== '')
      return 'url must not have a user name or a password. The signature tells the receiver who sends.';
    const host = hostOf(url);
    return isIP(host) && !mayConnectTo(host, reach) ? NOT_ALLOWED[reach] : null;
  }

  return {
    refusal,
    async post({ url: text, headers, body }, signal) {
      const refused = refusal(text);
      if (refused !== null) return { kind: 'FAILED', why: refused };
      const url = new URL(text);
      const host = hostOf(url);
      const asked = names();
      let request: ClientRequest | undefined;
      let response: IncomingMessage | undefined;
      let resolve!: (answer: OutboundAnswer) => void;
      const promise = new Promise<OutboundAnswer>((settle) => {
        resolve = settle;
      });
      const timer = setTimeout(
        () => resolve({ kind: 'FAILED', why: `The receiver did not answer within ${answerWithin / 1_000} s.` }),
        answerWithin,
      );
      const stop = (): void => resolve({ kind: 'TROUBLE', why: 'The server is closing.' });
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();

      async function send(): Promise<void> {
        const notAllowed = (detail: string): void => resolve({ kind: 'FAILED', why: NOT_ALLOWED[reach], detail });
        let addresses: readonly string[];
        try {
          addresses = isIP(host) ? [host] : (await asked.resolve(host)).slice(0, MOST_ADDRESSES);
        } catch (error) {
          if (isOwnTrouble(error)) throw error;
          notAllowed(codeOf(error));
          return;
        }
        // One forbidden address among allowed ones is no accident.
        if (!addresses.every((address) => mayConnectTo(address, reach))) {
          notAllowed(addresses.join(' '));
          return;
        }
        // Only these addresses are used: the name is not asked for again.
        const checked = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
        const lookup: LookupFunction = (_name, { all }, answer) =>
          all ? answer(null, checked) : answer(null, checked[0]!.address, checked[0]!.family);
        request = (url.protocol === 'https:' ? requestHttps : requestHttp)(url, {
          method: 'POST',
          headers: { ...headers, 'Content-Length': body.length, Connection: 'close' },
          agent: false,
          lookup,
          maxHeaderSize: MOST_HEAD,
          ...(ca === undefined ? {} : { ca }),
        });
        request.on('error', (error) => resolve(failure(error)));
        // A receiver that goes away says no more than that it does.
        request.on('close', () => resolve({ kind: 'FAILED', why: CLOSED }));
        request.on('upgrade', ({ statusCode }, socket) => {
          answered(statusCode!, undefined);
          // The socket of a changed protocol is no longer the request's.
          socket.destroy();
        });
        let interim = 0;
        request.on('information', () => {
          interim += 1;
          if (interim <= MOST_INTERIM) return;
          resolve({ kind: 'FAILED', why: 'The receiver sends interim answers without end.' });
          request!.destroy();
        });
        request.on('response', (given) => {
          response = given;
          answered(given.statusCode!, given.headers['retry-after']);
        });
        request.end(body);
      }
      const answered = (status: number, retryAfter: string | undefined): void =>
        resolve({ kind: 'ANSWERED', status, retryAfter });

      try {
        if (!signal.aborted) send().catch((error: unknown) => resolve(failure(error)));
        const answer = await promise;
        if (response) await readOn(response);
        return answer;
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', stop);
        asked.cancel();
        // A late error of a destroyed request finds this listener.
        request?.on('error', () => {}).destroy();
      }
    },
  };
}

/** Reads the body of an answer and forgets it, as far as the limits go. Never rejects. */
function readOn(response: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(over, READ_WITHIN);
    let read = 0;
    function over(): void {
      clearTimeout(timer);
      resolve();
    }
    response.on('data', ({ length }: Buffer) => {
      read += length;
      if (read > MOST_READ) over();
    });
    for (const end of ['end', 'close', 'error']) response.on(end, over);
  });
}
