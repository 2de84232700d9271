import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ProjectCaller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import { fromGlobalId } from '../../schema/global-id.js';
import type { Services } from '../../schema/context.js';
import { pointsOf, type Budget, type RateLimits } from '../../services/access/rate-limits.js';
import { admit, tellBudget } from '../http/admission.js';
import { checkMethod } from '../http/methods.js';
import { headersOf, maskError } from '../graphql/mask-error.js';
import { checkOrigin } from '../http/origin.js';
import type { SenderOf } from '../http/sender.js';
import type { Unfinished } from '../http/unfinished.js';
import { clientCredentialOf } from './credential.js';
import { corsHeaders, preflightHeaders } from './cors.js';
import { descriptionOf } from './description.js';
import { heartbeatOf } from './heartbeat-query.js';
import { readBody } from './read-body.js';
import { collectorPath, routesOf, type Endpoint, type Route } from './routes.js';
import { translateBody } from './translate-body.js';
import { translateEvent } from './translate-event.js';
import { eventOfQuery } from './translate-query.js';

/**
 * The HTTP interface for Exceptionless clients. It translates their wire format for the ingest service. See README.md in
 * this folder.
 */
export interface Collector {
  /** Whether the collector answers this path. The path has no query. */
  owns(pathname: string): boolean;
  /** Answers any request, also with an error. Never rejects. `id` is the request's id. */
  answer(request: IncomingMessage, response: ServerResponse, id: string): Promise<void>;
}

/** A request that the collector has authenticated. */
interface Visit {
  readonly request: IncomingMessage;
  readonly route: Route;
  readonly query: URLSearchParams;
  /** The query as the client sent it, without its question mark. */
  readonly rawQuery: string;
  readonly caller: ProjectCaller;
  readonly sender: Sender;
  readonly id: string;
}

interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  /** Sent as JSON. Undefined: the body is empty. */
  readonly body?: unknown;
}

/** The value of `@submission_client`: the client's address, name and version. */
function clientOf({ request, sender }: Visit): Record<string, unknown> {
  const named = request.headers['x-exceptionless-client'];
  const agent = (typeof named === 'string' ? named : sender.userAgent)?.slice(0, 1_000) ?? null;
  const [, name, version] = /^([^/\s]+)\/(\d+(?:\.\d+)*)$/.exec(agent ?? '') ?? [];
  return {
    ...(sender.ipAddress !== null && { ip_address: sender.ipAddress }),
    ...(agent !== null && { user_agent: name ?? agent }),
    ...(version !== undefined && { version }),
  };
}

/** A path may name only the project of the key, by its GraphQL id or by its UUID. Throws NOT_FOUND for any other. */
function checkProject(caller: ProjectCaller, named: string | undefined): void {
  if (named === undefined || named === caller.reach.projectId) return;
  let id: string | null = null;
  try {
    id = fromGlobalId('Project', named, 'project');
  } catch {
    // The text is no project id; the check below refuses it.
  }
  if (id !== caller.reach.projectId)
    throw new AppError('NOT_FOUND', 'The project in the path is not the project of the key.');
}

const isTaken = (contentType: string): boolean => /^(application\/json|text\/plain)\s*(;|$)/i.test(contentType.trim());

function checkContent({ headers }: IncomingMessage): void {
  const { 'content-type': type, 'content-length': length } = headers;
  if (length === '0') throw new AppError('LENGTH_REQUIRED', 'The body is empty. Send an event or an array of events.');
  if (type === undefined || isTaken(type)) return;
  throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Content-Type must be application/json or text/plain.');
}

export function createCollector(deps: {
  services: Services;
  senderOf: SenderOf;
  rateLimits: RateLimits;
  unfinished: Unfinished;
  observe: Observer;
}): Collector {
  const { services, senderOf, rateLimits, unfinished, observe } = deps;

  const versionHeader = ({ caller, route }: Visit): Record<string, string> => ({
    [route.version === 1 ? 'v' : 'X-Exceptionless-ConfigVersion']: String(caller.clientSettingsVersion),
  });

  /** The capacity of the ingest queue, in events, and its free room. */
  function roomHeaders(): Record<string, string> {
    const { limit, remaining } = services.ingest.room;
    return { 'X-RateLimit-Limit': String(limit), 'X-RateLimit-Remaining': String(remaining) };
  }

  async function postEvents(visit: Visit): Promise<Answer> {
    checkContent(visit.request);
    const text = await readBody(visit.request, unfinished);
    const { events, misfits } = translateBody(text, clientOf(visit), visit.route.version);
    if (events.length > 100) await rateLimits.chargeKey(visit.caller, pointsOf(events.length) - 1);
    const outcomes = events.length === 0 ? [] : await services.ingest.ingestEvents(visit.caller, events, visit.sender);
    const rejected = outcomes.filter(({ status }) => status === 'REJECTED');
    // The answer cannot name a refused event: the client would send the whole batch again. So the server logs it.
    if (rejected.length + misfits > 0) {
      const [first] = rejected;
      observe({
        kind: 'collector.dropped',
        request: visit.id,
        events: rejected.length + misfits,
        code: first?.code ?? 'NO_OBJECT',
        message: first?.message ?? 'An event must be a JSON object.',
      });
    }
    return { status: 202, headers: { ...versionHeader(visit), ...roomHeaders() } };
  }

  async function submit(visit: Visit): Promise<Answer> {
    const posted = eventOfQuery(visit.query, visit.route.type ?? null);
    if (posted) {
      const event = translateEvent(posted, clientOf(visit));
      const [outcome] = await services.ingest.ingestEvents(visit.caller, [event], visit.sender);
      if (outcome!.status === 'REJECTED')
        throw new AppError('BAD_USER_INPUT', `${outcome!.message} (${outcome!.code})`);
    }
    return { status: 200, headers: { ...versionHeader(visit), ...roomHeaders() } };
  }

  async function heartbeat({ rawQuery, caller, sender }: Visit): Promise<Answer> {
    const { spellings, close } = heartbeatOf(rawQuery);
    const subject = spellings.length === 0 ? null : await services.findHeartbeatSubject(caller.reach, spellings);
    if (subject) await services.ingest.recordHeartbeat(caller, { ...subject, close }, sender);
    return { status: 200 };
  }

  async function config({ caller, query }: Visit): Promise<Answer> {
    const { version, settings } = await services.clientSettings.read(caller.reach);
    const known = query.get('v') ?? '';
    if (/^\s*[+-]?\d+\s*$/.test(known) && Number(known) === version) return { status: 304 };
    return { status: 200, body: { version, settings } };
  }

  async function describe(visit: Visit): Promise<Answer> {
    const { caller, route, request } = visit;
    if (!/^[A-Za-z0-9-]{8,100}$/.test(route.reference!)) {
      throw new AppError('NOT_FOUND', "The reference in the path must have 8 to 100 letters, digits or '-'.");
    }
    const isOld = route.endpoint === 'oldDescription';
    const text = await readBody(request, unfinished);
    if (isOld && text.trim() === '') return { status: 200, headers: versionHeader(visit) };
    await services.userDescriptions.add(caller, {
      referenceId: route.reference!,
      ...descriptionOf(text, route.version),
    });
    return { status: isOld ? 200 : 202, headers: versionHeader(visit) };
  }

  const ENDPOINTS: Record<Endpoint, (visit: Visit) => Promise<Answer>> = {
    events: postEvents,
    submit,
    heartbeat,
    config,
    description: describe,
    oldDescription: describe,
  };

  async function visit(request: IncomingMessage, id: string, tell: (budget: Budget | null) => void): Promise<Answer> {
    const sender = senderOf(request);
    const budget = await rateLimits.chargeAddress(sender.ipAddress, 1);
    const [pathname = '', ...rest] = (request.url ?? '/').split('?');
    const rawQuery = rest.join('?');
    const routes = routesOf(collectorPath(pathname) ?? '');
    if (routes.length === 0) {
      throw new AppError('NOT_FOUND', `There is no endpoint at ${pathname.slice(0, 200)}. To read data, use /graphql.`);
    }
    // A preflight carries no credential and changes nothing, so every known path answers it.
    if (request.method === 'OPTIONS') return { status: 204, headers: preflightHeaders(request) };
    checkMethod(
      request,
      routes.map(({ method }) => method),
    );
    const route = routes.find(({ method }) => method === request.method)!;
    const query = new URLSearchParams(rawQuery);
    const read = () => services.keys.authenticate(clientCredentialOf(request, query));
    const caller = await admit(rateLimits, sender, budget, read, tell);
    if (caller.kind === 'operator' || !caller.scopes.has('INGEST')) {
      throw new AppError('FORBIDDEN', 'The key may not send events. It needs the scope INGEST.');
    }
    checkOrigin(caller, request);
    checkProject(caller, route.project);
    tell(await rateLimits.chargeKey(caller, 1));
    return ENDPOINTS[route.endpoint]({ request, route, query, rawQuery, caller, sender, id });
  }

  /** The error as a problem document (RFC 9457). The .NET client reads `message`. */
  function problem(error: unknown, id: string): Answer {
    const masked = maskError(error, id, observe);
    const status = error instanceof AppError ? error.status : 500;
    const { message } = masked;
    const { code } = masked.extensions as { code: string };
    return {
      status,
      headers: {
        'Content-Type': 'application/problem+json; charset=utf-8',
        ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }),
        ...headersOf(masked),
        ...(status === 503 && roomHeaders()),
      },
      body: { title: code, status, detail: message, code, message, instance: id },
    };
  }

  return {
    owns: (pathname) => collectorPath(pathname) !== null,
    async answer(request, response, id) {
      const { status, headers, body } = await visit(request, id, tellBudget(response)).catch((error: unknown) =>
        problem(error, id),
      );
      const json = body === undefined ? undefined : JSON.stringify(body);
      response.writeHead(status, {
        ...(json !== undefined && { 'Content-Type': 'application/json; charset=utf-8' }),
        ...(status !== 204 && status !== 304 && { 'Content-Length': String(Buffer.byteLength(json ?? '')) }),
        'Cache-Control': 'no-store',
        ...corsHeaders(request),
        ...headers,
        // The server does not read the rest of a body.
        ...(!request.complete && { Connection: 'close' }),
      });
      response.end(json);
    },
  };
}
