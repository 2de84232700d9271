import type { Version } from './translate-body.js';

/** The endpoints of the collector. */
export type Endpoint = 'events' | 'submit' | 'heartbeat' | 'config' | 'description' | 'oldDescription';

export interface Route {
  readonly endpoint: Endpoint;
  readonly method: 'GET' | 'POST' | 'PATCH';
  readonly version: Version;
  /** The project, if the path names one. */
  readonly project?: string;
  /** The event's reference or type, if the path has one. */
  readonly reference?: string;
  readonly type?: string;
}

type Row = readonly [method: Route['method'], path: RegExp, endpoint: Endpoint, version: Version];

const PROJECT = '(?:/projects/(?<project>[^/]+))?';
const SUBMIT = 'events/submit(?:/(?<type>[^/]+))?';
const REFERENCE = '(?<reference>[^/]+)';

const path = (text: string): RegExp => new RegExp(`^${text}/?$`);

const ROUTES: readonly Row[] = [
  ['POST', path(`/api/v2${PROJECT}/events`), 'events', 2],
  ['GET', path('/api/v2/events/session/heartbeat'), 'heartbeat', 2],
  ['GET', path('/api/v2/projects/config'), 'config', 2],
  ['GET', path(`/api/v2${PROJECT}/config`), 'config', 2],
  ['POST', path(`/api/v2${PROJECT}/events/by-ref/${REFERENCE}/user-description`), 'description', 2],
  ['GET', path(`/api/v2${PROJECT}/${SUBMIT}`), 'submit', 2],
  ['POST', path('/api/v1/error'), 'events', 1],
  ['POST', path(`/api/v1${PROJECT}/events`), 'events', 1],
  ['GET', path(`/api/v1${PROJECT}/${SUBMIT}`), 'submit', 1],
  ['GET', path('/api/v1/project/config'), 'config', 1],
  ['PATCH', path(`/api/v1/error/${REFERENCE}`), 'oldDescription', 1],
];

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/**
 * The collector's part of a path: without repeated slashes (clients join texts) and without the text before /api/ (clients
 * keep a path prefix). Null if the path does not belong to the collector.
 */
export function collectorPath(pathname: string): string | null {
  const single = pathname.replace(/\/{2,}/g, '/');
  const at = /\/api\/v[12]\//.exec(single)?.index;
  return at === undefined ? null : single.slice(at);
}

/** The routes of a path, one for each method. Empty if there is no such path. */
export function routesOf(pathname: string): Route[] {
  return ROUTES.flatMap(([method, pattern, endpoint, version]) => {
    const found = pattern.exec(pathname);
    if (!found) return [];
    const { project, type, reference } = found.groups ?? {};
    return [
      {
        endpoint,
        method,
        version,
        ...(project !== undefined && { project: decode(project) }),
        ...(type !== undefined && { type: decode(type) }),
        ...(reference !== undefined && { reference: decode(reference) }),
      },
    ];
  });
}
