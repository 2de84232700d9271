import Bowser from 'bowser';
import { isbot } from 'isbot';
import { LRUCache } from 'lru-cache';
import type { CheckedEvent } from '../../domain/check-event.js';
import type { Sender } from '../../domain/sender.js';
import type { SessionAttributes } from '../../domain/session.js';
import { wellFormed } from '../../domain/well-formed.js';
import type { Geography, Place } from './geography.js';

type Client = Pick<SessionAttributes, 'browserName' | 'browserVersion' | 'osName' | 'osVersion' | 'device' | 'isBot'>;

const UNKNOWN: Client = {
  browserName: null,
  browserVersion: null,
  osName: null,
  osVersion: null,
  device: null,
  isBot: false,
};

/** Parsing a user agent takes 44 µs; a site sees the same few hundred user agents all day. */
const CACHE_SIZE = 1_000;
const LONGEST_USER_AGENT = 1_000;
const cache = new LRUCache<string, Client>({ max: CACHE_SIZE });

function parseUserAgent(userAgent: string): Client {
  const known = cache.get(userAgent);
  if (known) return known;
  const parsed = Bowser.parse(userAgent);
  const client: Client = {
    browserName: parsed.browser.name || null,
    browserVersion: parsed.browser.version || null,
    osName: parsed.os.name || null,
    osVersion: parsed.os.version || parsed.os.versionName || null,
    device: parsed.platform.model || parsed.platform.type || null,
    isBot: isbot(userAgent),
  };
  cache.set(userAgent, client);
  return client;
}

const textIn = (value: unknown, key: string): string | null => {
  if (typeof value !== 'object' || value === null) return null;
  const found = (value as Record<string, unknown>)[key];
  return typeof found === 'string' && found !== '' ? wellFormed(found) : null;
};

/** The members of an event's data that stay the same during a session, and are kept with it (rule 22). */
const SESSION_DATA = ['@environment', '@request', '@location', '@submission_client'];

function sessionData(event: CheckedEvent): Record<string, unknown> {
  if (!event.data) return {};
  // All data of an explicit start describes the session.
  if (event.type === 'session') return { ...event.data };
  const found: Record<string, unknown> = {};
  for (const key of SESSION_DATA) {
    if (key in event.data) found[key] = event.data[key];
  }
  return found;
}

/**
 * Since 1994 the user agents of all browsers, and of bots that pose as one, begin like this; those of libraries and tools
 * do not.
 */
const isBrowsers = (userAgent: string): boolean => userAgent.startsWith('Mozilla/');

/**
 * The user agent of the client that the event is about: the event's own `@request.user_agent`, else that of the connection
 * if it is a browser. A server that sends events for its users is not their browser.
 */
function userAgentOf({ data, sender }: CheckedEvent): string | null {
  const own = textIn(data?.['@request'], 'user_agent');
  if (own) return own.slice(0, LONGEST_USER_AGENT);
  if (sender.userAgent === null || !isBrowsers(sender.userAgent)) return null;
  return wellFormed(sender.userAgent).slice(0, LONGEST_USER_AGENT);
}

/**
 * The address of the client that the event is about: the event's own `@request.client_ip_address`, else that of the
 * connection. An empty `client_ip_address` means: no address. A server that sends events for its users can send it.
 */
function ipAddressOf({ data, sender }: CheckedEvent): string | null {
  const request = data?.['@request'];
  const own = typeof request === 'object' && request !== null && 'client_ip_address' in request;
  const given = own ? (request as Record<string, unknown>)['client_ip_address'] : null;
  if (typeof given !== 'string') return sender.ipAddress;
  // Some frameworks give the whole chain of proxies: the first address is the client's.
  return wellFormed(given.split(',')[0]!.trim()).slice(0, 100) || null;
}

export const isBotEvent = (event: CheckedEvent): boolean => {
  const userAgent = userAgentOf(event);
  return userAgent !== null && parseUserAgent(userAgent).isBot;
};

/** The place that the event itself names (`@location`, as Exceptionless writes it). */
function ownPlace(event: CheckedEvent): Place | null {
  const location = event.data?.['@location'];
  const country = textIn(location, 'country');
  if (country === null) return null;
  const [region, city] = ['level1', 'locality'].map((key) => textIn(location, key)?.slice(0, 100) ?? null);
  return { country: country.slice(0, 100), region: region!, city: city! };
}

/**
 * What an event says about its session (rule 22): browser, system, device and whether it is a bot, all from the user agent;
 * the address and its place; the version; and the data that describes the client.
 */
export type DescribeClient = (event: CheckedEvent) => SessionAttributes;

/** Whether an event itself says nothing about its client. Then its connection and its version decide the description. */
const isSilent = ({ type, data }: CheckedEvent): boolean =>
  type !== 'session' && (data === null || !SESSION_DATA.some((key) => key in data));

/** The most versions that are remembered of a connection. It has one; a server that sends for its users has a few. */
const MOST_VERSIONS = 20;

export function createDescribeClient(geography: Geography | null): DescribeClient {
  /** Descriptions of silent events, by connection, then version: all events of a request share one. */
  const silent = new WeakMap<Sender, Map<string | null, SessionAttributes>>();

  function describe(event: CheckedEvent): SessionAttributes {
    const userAgent = userAgentOf(event);
    const ipAddress = ipAddressOf(event);
    const place = ownPlace(event) ?? (ipAddress === null ? null : (geography?.locate(ipAddress) ?? null));
    const client = userAgent === null ? UNKNOWN : parseUserAgent(userAgent);
    return {
      browserName: client.browserName,
      browserVersion: client.browserVersion,
      osName: client.osName,
      osVersion: client.osVersion,
      device: client.device,
      isBot: client.isBot,
      version: event.version,
      ipAddress,
      country: place?.country ?? null,
      region: place?.region ?? null,
      city: place?.city ?? null,
      data: sessionData(event),
    };
  }

  return (event) => {
    if (!isSilent(event)) return describe(event);
    let known = silent.get(event.sender);
    if (!known) silent.set(event.sender, (known = new Map()));
    let attributes = known.get(event.version);
    if (attributes) return attributes;
    // A WebSocket lives long, and each of its events may name a new version.
    if (known.size >= MOST_VERSIONS) known.clear();
    known.set(event.version, (attributes = describe(event)));
    return attributes;
  };
}
