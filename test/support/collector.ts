import { request as httpRequest } from 'node:http';
import { post } from './app.js';

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
}

/** Sends a request to the collector, with the given headers and body. */
export async function call(url: string, path: string, init: RequestInit & { key?: string } = {}): Promise<Reply> {
  const { key, ...rest } = init;
  const response = await fetch(`${url}${path}`, {
    ...rest,
    headers: { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(rest.headers as Record<string, string>) },
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Sends a GET with the path exactly as given; fetch would change it. Heartbeats need this. */
export function rawGet(url: string, path: string, key: string): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { hostname, port, path, method: 'GET', headers: { Authorization: `Bearer ${key}` } },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode!, text }));
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

export const postEvents = (url: string, key: string, body: unknown, headers: Record<string, string> = {}) =>
  call(url, '/api/v2/events', {
    method: 'POST',
    key,
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'Content-Type': 'application/json', ...headers },
  });

/** All sessions and events of a project, as a front end reads them. */
export async function look(url: string, key: string): Promise<{ sessions: any[]; events: any[] }> {
  const { data, errors } = await post(
    url,
    key,
    `{ sessions(orderBy: { direction: ASC }, first: 50) { nodes {
         key user { identity name presence { status } } status endReason startedAt endedAt duration eventCount errorCount version
         browser { name version } os { name } device ipAddress isBot location { country region city } data
         events(first: 50) { nodes { type source message tags referenceId value data user { identity } occurredAt } } } }
       events(first: 100) { nodes { type source message tags referenceId value version occurredAt data session { key } user { identity name } } } }`,
  );
  if (errors) throw new Error(JSON.stringify(errors));
  return { sessions: data.sessions.nodes, events: data.events.nodes };
}
