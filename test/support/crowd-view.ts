import { request } from 'node:http';
import { constants, createGunzip } from 'node:zlib';
import WebSocket from 'ws';

/** After a lost connection, an error or an end: all of those who lost it together come back together. Milliseconds. */
const AGAIN_AFTER = 500;
/** An event stream that says nothing for so long is given up: the server sends a comment every 15 s. Milliseconds. */
const SILENCE = 25_000;
/** Messages that are kept in words: those of one crowd are the same text for each of it. */
const MOST_KNOWN = 100;

interface Update {
  readonly kind: 'SNAPSHOT' | 'DIFF';
  readonly hasMore: boolean;
  readonly cursor: string;
  readonly users: readonly { identity: string; status: 'ONLINE' | 'OFFLINE' }[];
}

interface Message {
  readonly type: string;
  readonly payload?: { data?: { userPresence: Update }; errors?: unknown } | Refusal[] | null;
}

interface Refusal {
  readonly extensions?: { code?: string };
}

const known = new Map<string, Message>();
function read(text: string): Message {
  let message = known.get(text);
  if (!message) {
    message = JSON.parse(text) as Message;
    known.set(text, message);
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value!);
  }
  return message;
}

const queryOf = (fields: string): string =>
  `subscription ($identities: [String!], $after: String) {
    userPresence(identities: $identities, after: $after) { kind hasMore cursor users { identity status ${fields} } }
  }`;

export interface CrowdViewOptions {
  /** Where to connect, asked each time. */
  readonly url: () => string;
  readonly key: string;
  readonly identities?: readonly string[];
  /** Whether it watches over server-sent events, and not over a WebSocket. */
  readonly streams?: boolean;
  /** Whether it takes large messages compressed, as browsers do. */
  readonly inflates?: boolean;
  /** Whether it goes on from its cursor when it comes back, or begins anew. */
  readonly resumes: boolean;
  /** What it asks of each user beside identity and status. */
  readonly fields?: string;
  /** Called with each user of a DIFF. */
  readonly onEdge?: (identity: string, status: 'ONLINE' | 'OFFLINE') => void;
}

/** One of many who watch: as little as such a client needs, so that hundreds of them are no load of their own. */
export class CrowdView {
  /** Who is online, as far as it knows. */
  online = new Set<string>();
  /** Whether everything is there that it asked for when it connected last. */
  isWhole = false;
  readonly figures = { connections: 0, refused: 0, snapshots: 0, resumptions: 0, frames: 0, bytes: 0 };
  /** Errors that no viewer should hear. */
  readonly fatal: string[] = [];
  /** Ends the connection at once. */
  private end: () => void = () => {};
  private cursor: string | null = null;
  private timer: NodeJS.Timeout | null = null;
  /** The parts of a SNAPSHOT of which more are to come. */
  private incoming: Set<string> | null = null;
  private stopped = false;

  constructor(private readonly options: CrowdViewOptions) {
    this.connect();
  }

  /** As a network does that goes away: it comes back half a second later. */
  cut(): void {
    this.isWhole = false;
    this.end();
  }

  stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
    this.end();
  }

  private connect(): void {
    this.isWhole = false;
    this.incoming = null;
    if (this.options.streams) this.openStream();
    else this.openSocket();
  }

  private openSocket(): void {
    const { url, key, inflates = false } = this.options;
    const socket = new WebSocket(`${url().replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      perMessageDeflate: inflates,
      handshakeTimeout: 10_000,
    });
    this.end = () => socket.terminate();
    const say = (message: object): void => socket.send(JSON.stringify(message));
    socket.on('error', () => {});
    socket.on('open', () => say({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
    socket.on('close', () => this.comeBack());
    socket.on('message', (data: Buffer) => {
      const text = data.toString();
      const { type } = read(text);
      if (type === 'ping') say({ type: 'pong' });
      if (type === 'connection_ack') say({ id: 'view', type: 'subscribe', payload: this.asked() });
      this.hear(text);
    });
  }

  private openStream(): void {
    const { url, key, inflates = false } = this.options;
    const headers = {
      ...(inflates && { 'Accept-Encoding': 'gzip' }),
      Authorization: `Bearer ${key}`,
      'Content-Type': 'application/json',
      Accept: 'text/event-stream',
    };
    const asking = request(`${url()}/graphql`, { method: 'POST', headers, agent: false, timeout: SILENCE });
    this.end = () => asking.destroy();
    asking.on('timeout', this.end);
    asking.on('error', () => {});
    asking.on('close', () => this.comeBack());
    asking.on('response', (response) => {
      let rest = '';
      const isPacked = response.headers['content-encoding'] === 'gzip';
      // A stream that is cut has no end that gzip would take for one.
      const texts = isPacked ? response.pipe(createGunzip({ finishFlush: constants.Z_SYNC_FLUSH })) : response;
      texts.setEncoding('utf8').on('error', () => {});
      response.on('error', () => {});
      texts.on('data', (data: string) => {
        rest += data;
        const blocks = rest.split('\n\n');
        rest = blocks.pop()!;
        for (const block of blocks) {
          const type = /^event: (\w+)$/m.exec(block)?.[1];
          const words = /^data: (.+)$/m.exec(block)?.[1];
          if (type) this.hear(`{"type":"${type}"${words ? `,"payload":${words}` : ''}}`);
        }
      });
      texts.on('end', () => {
        // A refusal is no stream, but one answer.
        if (response.statusCode !== 200) this.hear(`{"type":"error","payload":${rest || 'null'}}`);
        this.end();
      });
    });
    asking.end(JSON.stringify(this.asked()));
  }

  private comeBack(): void {
    this.isWhole = false;
    if (!this.stopped) this.timer = setTimeout(() => this.connect(), AGAIN_AFTER);
  }

  private hear(text: string): void {
    const { type, payload } = read(text);
    if (type === 'error' || type === 'complete' || (payload && 'errors' in payload)) this.refuse(text, payload);
    else if (type === 'next') this.take((payload as { data: { userPresence: Update } }).data.userPresence, text);
  }

  private asked(): object {
    this.figures.connections += 1;
    const { identities, resumes, fields = '' } = this.options;
    const after = resumes ? this.cursor : null;
    if (after !== null) this.figures.resumptions += 1;
    const variables = { ...(identities ? { identities } : {}), ...(after === null ? {} : { after }) };
    return { query: queryOf(fields), variables };
  }

  private refuse(text: string, payload: Message['payload']): void {
    this.figures.refused += 1;
    const errors = (payload && 'errors' in payload ? payload.errors : payload) ?? [];
    const codes = Array.isArray(errors) ? (errors as Refusal[]).map(({ extensions }) => extensions?.code) : [];
    if (codes.length === 0 || codes.some((code) => code !== 'UNAVAILABLE' && code !== 'OVERLOADED'))
      this.fatal.push(text.slice(0, 300));
    this.cut();
  }

  private take({ kind, hasMore, cursor, users }: Update, text: string): void {
    const { figures } = this;
    figures.frames += 1;
    figures.bytes += text.length;
    let shown = this.online;
    if (kind === 'SNAPSHOT') {
      if (this.incoming === null) figures.snapshots += 1;
      shown = this.incoming ??= new Set();
    }
    for (const { identity, status } of users) {
      if (status === 'ONLINE') shown.add(identity);
      else shown.delete(identity);
      if (kind === 'DIFF') this.options.onEdge?.(identity, status);
    }
    if (hasMore) return;
    // Whoever is cut off between two parts has not seen what the cursor says.
    this.cursor = cursor;
    if (kind === 'SNAPSHOT') this.online = shown;
    this.incoming = null;
    this.isWhole = true;
  }
}

/** Whom a view shows wrongly, where `online` are those who are online by the rows. */
export function wrongIn(view: CrowdView, online: ReadonlySet<string>, identities: readonly string[] | null): string[] {
  const right = identities ? identities.filter((identity) => online.has(identity)) : [...online];
  return [
    ...right.filter((identity) => !view.online.has(identity)).map((identity) => `missing ${identity}`),
    ...[...view.online].filter((identity) => !online.has(identity)).map((identity) => `ghost ${identity}`),
  ];
}
