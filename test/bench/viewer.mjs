// Somebody who watches presence: notes when the whole snapshot is there, and when what is published after it arrives.
import { openRawWebSocket } from './raw-websocket.mjs';

/** Bytes of a message that are looked at first: its id, type, kind, hasMore and cursor. */
const HEAD = 1_024;
/** The identity of a mark: `mark-`, the time at which it was sent (milliseconds since the epoch, 13 digits), a number. */
const MARK = { text: 'mark-', length: 18 };
/** The identities of those who come while something is broken: `away-` and two digits. */
const AWAY = { text: '"away-', length: 8 };
/** Bytes of one piece that are looked at again with the next: either may begin in one and end in the other. */
const TAIL = 20;
/** After an error or a lost connection. Milliseconds. */
const AGAIN_AFTER = 500;

const at = () => performance.timeOrigin + performance.now();
const timeOfMark = (bytes, start) => Number(bytes.toString('latin1', start + MARK.text.length, start + MARK.length));

function lastMark(bytes) {
  const start = bytes.length < MARK.length ? -1 : bytes.lastIndexOf(MARK.text, bytes.length - MARK.length);
  return start === -1 ? null : timeOfMark(bytes, start);
}

/** How old each mark of a message is that has come online. */
function agesOfMarks(bytes) {
  const now = at();
  const ages = [];
  for (let start = bytes.indexOf(MARK.text); start !== -1; start = bytes.indexOf(MARK.text, start + 1))
    if (bytes.toString('latin1', start, start + 100).includes('"ONLINE"')) ages.push(now - timeOfMark(bytes, start));
  return ages;
}

function numbersOfAway(bytes) {
  const numbers = [];
  for (let start = bytes.indexOf(AWAY.text); start !== -1; start = bytes.indexOf(AWAY.text, start + 1))
    if (bytes.length >= start + AWAY.length) numbers.push(bytes.toString('latin1', start + AWAY.text.length, start + AWAY.length));
  return numbers;
}

export class Viewer {
  /** `closed`, `connecting`, `open`; `asked` until the whole snapshot is there, `whole` until a mark sent after it is, `live`. */
  state = 'closed';
  wholeAt = null;
  liveAt = null;
  cursor = null;
  /** Of the latest mark that has come: when it was sent. */
  latestMark = null;
  bytes = 0;
  frames = 0;
  snapshots = 0;
  /** Times it was refused or cut, and why the last time. */
  refused = 0;
  reason = null;
  /** The longest time for which no newer mark had come, since it was live. */
  stalest = 0;
  away = new Set();
  /** Of a sample: how old each mark was when it came, and all messages. */
  ages = [];
  messages = [];

  socket = null;
  /** Whether to subscribe once it may, and whether from its cursor on. */
  wants = { subscription: false, resumption: false };
  /** What has come of the message that is being read: before its head is there, and then. */
  head = null;
  message = null;

  /** `options`: url, key, query, variables, isSample, watchesAway, inflates. `changed` is called whenever its state may have changed. */
  constructor(options, changed) {
    this.options = options;
    this.changed = changed;
  }

  connect() {
    this.state = 'connecting';
    this.head = this.message = null;
    const { url, key, inflates } = this.options;
    const on = {
      open: () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
      piece: (bytes) => this.read(bytes),
      end: () => this.end(),
      close: () => this.socket === socket && this.tryAgain('closed'),
      received: (count) => (this.bytes += count),
    };
    const socket = openRawWebSocket(url, on, { inflates });
    this.socket = socket;
  }

  /** Connects first, where it is not. */
  subscribe({ resumption = false } = {}) {
    this.wants = { subscription: true, resumption };
    if (this.state === 'closed') this.connect();
    if (this.state !== 'open') return;
    this.state = 'asked';
    this.wholeAt = this.liveAt = null;
    const { query, variables = {} } = this.options;
    const payload = { query, variables: resumption ? { ...variables, after: this.cursor } : variables };
    this.socket.send(JSON.stringify({ id: 'v', type: 'subscribe', payload }));
  }

  drop() {
    const { socket } = this;
    this.socket = null;
    this.state = 'closed';
    socket?.drop();
  }

  reset() {
    Object.assign(this, { bytes: 0, frames: 0, snapshots: 0, refused: 0, reason: null, stalest: 0, ages: [] });
    this.away.clear();
  }

  tryAgain(reason) {
    this.refused += 1;
    this.reason = reason;
    this.drop();
    setTimeout(() => {
      if (this.state !== 'closed') return;
      if (this.wants.subscription) this.subscribe(this.wants);
      else this.connect();
    }, AGAIN_AFTER);
  }

  read(bytes) {
    if (this.message) {
      this.readOn(bytes);
      return;
    }
    this.head = this.head ? Buffer.concat([this.head, bytes]) : bytes;
    if (this.head.length >= HEAD) this.readHead();
  }

  readHead() {
    const bytes = this.head;
    const text = bytes.toString('latin1', 0, HEAD);
    this.head = null;
    this.message = {
      text,
      type: /"type":"(\w+)"/.exec(text)?.[1],
      kind: /"kind":"(\w+)"/.exec(text)?.[1],
      hasMore: text.includes('"hasMore":true'),
      pieces: [],
      tail: null,
    };
    this.cursor = /"cursor":"([^"]*)"/.exec(text)?.[1] ?? this.cursor;
    this.readOn(bytes);
  }

  readOn(bytes) {
    const { message } = this;
    const { isSample, watchesAway } = this.options;
    if (isSample) message.pieces.push(bytes);
    const isDiff = message.kind === 'DIFF';
    if (!isDiff && !watchesAway) return;
    const all = message.tail ? Buffer.concat([message.tail, bytes]) : bytes;
    message.tail = all.subarray(-TAIL);
    if (watchesAway) for (const number of numbersOfAway(all)) this.away.add(number);
    const mark = isDiff ? lastMark(all) : null;
    if (mark !== null) this.takeMark(mark);
  }

  takeMark(time) {
    const now = at();
    if (this.liveAt !== null) this.stalest = Math.max(this.stalest, now - this.latestMark);
    this.latestMark = Math.max(this.latestMark ?? 0, time);
    if (this.state !== 'whole' || time < this.wholeAt) return;
    this.state = 'live';
    this.liveAt ??= now;
  }

  end() {
    if (!this.message) this.readHead();
    const { type, kind, hasMore, text, pieces } = this.message;
    this.message = null;
    if (type === 'ping') this.socket?.send('{"type":"pong"}');
    if (type === 'connection_ack') {
      this.state = 'open';
      if (this.wants.subscription) this.subscribe(this.wants);
    }
    if (type === 'error' || type === 'complete' || text.includes('"errors":[')) this.tryAgain(text.slice(0, 300));
    else if (type === 'next') this.take(kind, hasMore, pieces);
    this.changed(this);
  }

  take(kind, hasMore, pieces) {
    this.frames += 1;
    if (kind === 'SNAPSHOT' && !hasMore) this.snapshots += 1;
    if (this.options.isSample) {
      const whole = Buffer.concat(pieces);
      this.messages.push(whole);
      if (kind === 'DIFF') for (const age of agesOfMarks(whole)) this.ages.push(age);
    }
    // It begins with a SNAPSHOT, or, from a cursor on, with what has changed since.
    if (kind === 'DIFF' && this.state !== 'asked') return;
    this.state = hasMore ? 'asked' : 'whole';
    if (!hasMore) this.wholeAt = at();
  }
}
