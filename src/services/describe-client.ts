import Bowser from 'bowser';
import type { CheckedEvent } from '../domain/check-event.js';
import type { SessionAttributes } from '../domain/session.js';
import { wellFormed } from '../domain/well-formed.js';

type Client = Pick<SessionAttributes, 'browserName' | 'browserVersion' | 'osName' | 'osVersion' | 'device'>;

const UNKNOWN: Client = { browserName: null, browserVersion: null, osName: null, osVersion: null, device: null };

/** Parsing takes 42 µs; a site sees the same few hundred user agents all day. */
const CACHE_SIZE = 1_000;
const LONGEST_USER_AGENT = 1_000;
const cache = new Map<string, Client>();

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
  };
  if (cache.size >= CACHE_SIZE) cache.delete(cache.keys().next().value!);
  cache.set(userAgent, client);
  return client;
}

const textIn = (value: unknown, key: string): string | null => {
  if (typeof value !== 'object' || value === null) return null;
  const found = (value as Record<string, unknown>)[key];
  return typeof found === 'string' && found !== '' ? wellFormed(found) : null;
};

/** What of an event's data stays the same throughout a session, and is kept with it (rule 22). */
const SESSION_DATA = ['@environment', '@request', '@location', '@submission_client'];

function sessionData(event: CheckedEvent): Record<string, unknown> {
  if (!event.data) return {};
  // Everything said with an explicit start is said of the session.
  if (event.type === 'session') return { ...event.data };
  const found: Record<string, unknown> = {};
  for (const key of SESSION_DATA) {
    if (key in event.data) found[key] = event.data[key];
  }
  return found;
}

/**
 * What an event says of its session: browser, system and device from `@request.user_agent`, the address from
 * `@request.client_ip_address`, its version, and the data that describes the client.
 */
export function describeClient(event: CheckedEvent): SessionAttributes {
  const request = event.data?.['@request'];
  const userAgent = textIn(request, 'user_agent')?.slice(0, LONGEST_USER_AGENT);
  return {
    ...(userAgent ? parseUserAgent(userAgent) : UNKNOWN),
    version: event.version,
    ipAddress: textIn(request, 'client_ip_address')?.slice(0, 100) ?? null,
    data: sessionData(event),
  };
}
