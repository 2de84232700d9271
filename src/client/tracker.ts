import { timeOf, write } from './bounds.js';
import { page, type PageHistory } from './browser.js';
import { asFootstepsError, FootstepsError, isPassing, isRefused } from './errors.js';
import { createEventIds } from './event-ids.js';
import { createKept } from './kept.js';
import { createOutbox } from './outbox.js';
import { createDoor, headersOf, type Access, type Door } from './post.js';
import { createTabs } from './tabs.js';
import type { EventInput, TrackEventsMutation, UserInput } from './generated/operations.js';

/** What can be said of a user, or of an event, besides its name. */
export type UserFields = Omit<UserInput, 'identity'>;
export type EventFields = Omit<EventInput, 'id' | 'type'>;

export interface TrackerOptions extends Access {
  /** Who the user is, if the page knows it already: as by `identify`, but from the first event on. */
  user?: UserInput;
  /** The version of your application: every event has it. */
  version?: string;
  /** Tells apart two clients of one site, in what they keep in the browser. Default: `footsteps`. */
  name?: string;
  /**
   * Heartbeats, in seconds, while nothing else is sent, so that the user counts as online; and a goodbye when the last tab is
   * closed. Default: every 30 seconds in browsers, off elsewhere. At most an hour. `false`: off.
   */
  useSessions?: { heartbeat?: number } | false;
  /** Tracks a page view at the start, and at each navigation by the History API. Default: false. */
  pageViews?: boolean;
  /** Tracks errors that nobody has caught: at most 100 of a page. Default: false. */
  errors?: boolean;
  /** Tracks nothing if the browser says Do Not Track. Default: false. */
  respectDoNotTrack?: boolean;
  /** Tracks nothing if the browser says Global Privacy Control. Default: false. */
  respectGlobalPrivacyControl?: boolean;
  /** Seconds for which events wait for others, to be sent together. Default: 1; at most an hour. */
  flushEvery?: number;
  /** Hears what went wrong. Nothing is thrown. */
  onError?: (error: FootstepsError) => void;
  /** Writes what is sent, and what went wrong, to the console. */
  debug?: boolean;
}

export interface Tracker {
  /** Says who the user is: your id or an e-mail address, and what else you know. Events from now on are theirs. */
  identify(identity: string, fields?: UserFields): void;
  /**
   * Nobody is signed in any more: the user's session ends here, and events from now on are no user's. `newDevice`: what
   * follows is of a new device, so nothing connects it with what was before.
   */
  reset(options?: { newDevice?: boolean }): void;
  /** Tracks an event of the current user. `type`: any name of 1 to 100 characters. */
  readonly track: (type: string, fields?: EventFields) => void;
  /** Tracks a page view: of the present page, if `fields` says no other `source`. */
  page(fields?: EventFields): void;
  /** Tracks an error. */
  error(error: unknown, fields?: EventFields): void;
  /** Sends what waits now. Resolves with how many events still wait: 0 if everything has arrived. */
  flush(): Promise<number>;
  /** From now on nothing is tracked in this browser, in whatever tab, and what waits is forgotten. */
  optOut(): void;
  /** Tracks again, in all tabs. */
  optIn(): void;
  /** Whether nothing is tracked: after optOut, or because the browser asks for it. */
  readonly isOptedOut: boolean;
  /** This browser, by a random name; null outside of browsers. */
  readonly deviceId: string | null;
  /** Sends what waits, for at most `patience` seconds (default 5, at most an hour), and stops. Resolves like `flush`. */
  close(patience?: number): Promise<number>;
}

/** What the server takes as the name of a device. Anybody can change what is in the storage of their browser. */
const DEVICE = /^[\w-]{8,100}$/;
/** The most events and characters of a request. */
const MOST_IN_REQUEST = 200;
const MOST_CHARACTERS = 400_000;
/** What a page may still send while it is closed, in bytes: browsers allow 64 KiB. */
const LAST_BYTES = 60_000;
/** The wait after a failed request doubles from the first to the last of these. Milliseconds. */
const [FIRST_WAIT, LAST_WAIT] = [1_000, 60_000];
/** The wait after a key or an origin was refused: only a change of the project helps. Milliseconds. */
const REFUSED_WAIT = 300_000;
/** Heartbeats after which a browser is silent, if all its tabs are hidden. */
const HIDDEN_BEATS = 2;
/** How often a tab says at least that it is there: well within what the others wait for. Milliseconds. */
const THERE = 60_000;
/** The mark in the storage of a browser that is opted out. Any other is left by opting in, and is another one each time. */
const OUT = '1';
/** The most unhandled errors of a page that are tracked. */
const MOST_ERRORS = 100;
/** The longest texts, in characters, of what the client itself says: of a source, and of a message or a stack. */
const [LONGEST_SOURCE, LONGEST_TEXT] = [2_000, 8_000];

const TRACK = /* GraphQL */ `
  mutation TrackEvents($events: [EventInput!]!, $sentAt: DateTime) {
    ingestEvents(events: $events, sentAt: $sentAt) {
      results {
        status
        code
        message
      }
    }
  }
`;
/** The last words of a page. The fields of a mutation run in their order: the session ends after the events. */
const LEAVE = /* GraphQL */ `
  mutation Leave($events: [EventInput!]!, $sentAt: DateTime, $tracks: Boolean!, $input: HeartbeatInput!) {
    ingestEvents(events: $events, sentAt: $sentAt) @include(if: $tracks) {
      accepted
    }
    recordHeartbeat(input: $input) {
      acknowledged
    }
  }
`;

/** A tracker, with what the other half of the client shares with it. */
interface OpenTracker {
  readonly tracker: Tracker;
  readonly door: Door;
  /** Tells `onError`. */
  readonly report: (error: unknown) => void;
}

/** The tracking half of the client. `beforeClose` closes the other half. */
export function openTracker(options: TrackerOptions, beforeClose: () => void = () => {}): OpenTracker {
  const { useSessions, name = 'footsteps', version } = options;
  const beat = useSessions === false || (!page && !useSessions) ? 0 : ((useSessions || {}).heartbeat ?? 30);
  const beatEvery = beat > 0 ? timeOf(beat, 0.1) : 0;
  const flushEvery = timeOf(options.flushEvery ?? 1);
  const door = createDoor(options);
  const kept = createKept(name);
  const outbox = createOutbox(kept, (count) =>
    report(new FootstepsError('QUEUE_FULL', `Too many wait: the oldest ${count} were dropped.`)),
  );
  const newId = createEventIds();
  const tabs = createTabs(kept, newId(Date.now()));

  let user: UserInput | undefined;
  /** The user as JSON; '' is nobody. */
  let whole = '';
  /** Whether the server knows the user's name and data already. */
  let isTold = true;
  let deviceId: string | null = null;
  /** The mark that this tab last saw. Where storage is forbidden, it is this tab's own. */
  let mark = kept.get('out') ?? '';
  let closed = false;

  let failures = 0;
  /** Whether the last request had no answer. */
  let isCutOff = false;
  let mostInRequest = MOST_IN_REQUEST;
  /** Nothing is sent before this time. This and wakesAt are of performance.now(): nobody can set that clock. */
  let notBefore = 0;
  let sending: Promise<void> | undefined;
  /** Breaks off what is being sent. */
  let breaking = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wakesAt = Infinity;
  let beatTimer: ReturnType<typeof setTimeout> | undefined;
  let isBeatDue = false;
  /** The user for whom another token was asked for last. */
  let askedFor: string | undefined;
  let hiddenAt = Infinity;

  function debug(...what: unknown[]): void {
    if (options.debug) console.debug(`[${name}]`, ...what);
  }
  function report(error: unknown): void {
    const known = asFootstepsError(error);
    debug(known.code, known.message);
    try {
      options.onError?.(known);
    } catch (thrown) {
      // What the application throws is the application's, and stops nothing here.
      console.error(thrown);
    }
  }

  const reportBad = (error: unknown): void => report(asFootstepsError(error, 'BAD_EVENT'));
  /** The same without throwing: what a page gives may throw at every touch. */
  const safely =
    <Given extends unknown[]>(act: (...given: Given) => void) =>
    (...given: Given): void => {
      try {
        act(...given);
      } catch (error) {
        reportBad(error);
      }
    };

  /** Follows what was decided in this tab or in another: whatever was taken before is never sent. */
  function follow(next: string): void {
    mark = next;
    outbox.clear();
    breaking.abort();
    breaking = new AbortController();
    isBeatDue = false;
    chooseDevice();
    beatLater();
  }
  function leaveMark(next: string): void {
    // Full storage takes nothing in the place of something shorter.
    kept.remove('out');
    kept.set('out', next);
    follow(next);
  }
  /** Looks first whether another tab has opted out, or in. */
  function isOut(): boolean {
    const now = kept.get('out');
    if (now !== null && now !== mark) follow(now);
    return mark === OUT;
  }

  /** Events from now on are of this user. Returns whether that is news. */
  function become(identity: string | number, fields: UserFields): boolean {
    // A number is a name too. What is none, the server will say.
    const own = { identity: typeof identity === 'object' ? '' : String(identity) };
    const next = write({ ...own, ...fields, ...own }, reportBad);
    if (next === whole) return false;
    // A copy: the page may change its own.
    user = JSON.parse(next) as UserInput;
    whole = next;
    isTold = false;
    return true;
  }

  const isHidden = (): boolean => page?.document.visibilityState === 'hidden';
  const who = (): string => user?.identity ?? deviceId ?? '';
  const isQuiet = (): boolean =>
    isOut() ||
    !!(options.respectDoNotTrack && page?.navigator.doNotTrack === '1') ||
    !!(options.respectGlobalPrivacyControl && page?.navigator.globalPrivacyControl);

  /** Sends in so many milliseconds, or sooner if that is decided already. */
  function wake(delay: number): void {
    const now = performance.now();
    const at = Math.max(now + delay, notBefore);
    if (closed || at >= wakesAt) return;
    clearTimeout(timer);
    wakesAt = at;
    timer = setTimeout(() => {
      wakesAt = Infinity;
      // Since then a request may have failed.
      if (performance.now() < notBefore) wake(0);
      else void send();
    }, at - now);
  }

  /** Sets the timer for the next heartbeat. */
  function beatLater(): void {
    clearTimeout(beatTimer);
    if (beatEvery === 0 || closed || isQuiet()) return;
    const now = Date.now();
    tabs.here(now);
    outbox.adopt(now, false);
    if (outbox.size() > 0) wake(flushEvery);
    const due = tabs.heardAt(who(), now) + beatEvery;
    if (due <= now && who() && performance.now() - hiddenAt < HIDDEN_BEATS * beatEvery) {
      // So no other tab finds it due as well.
      tabs.heard(who(), now);
      isBeatDue = true;
      wake(0);
    }
    // The others look a little later than the tab that was heard last. So they find it heard again, or take its place.
    const late = tabs.isLatest() ? 0 : beatEvery * (0.1 + Math.random() / 10);
    beatTimer = setTimeout(beatLater, Math.min((due > now ? due - now : beatEvery) + late, THERE));
  }

  const written = (event: Partial<EventInput>): string =>
    write(
      {
        ...event,
        // The server keeps a name: it is told once.
        user: event.user ?? (isTold && user ? { identity: user.identity } : user),
        // An event of somebody else says nothing of this browser.
        deviceId: event.deviceId ?? (event.user ? undefined : (deviceId ?? undefined)),
      },
      reportBad,
    );

  const bodyOf = (query: string, events: readonly string[], more = ''): string =>
    `{"query":${JSON.stringify(query)},"variables":{"sentAt":"${new Date().toISOString()}","events":[${events.join()}]${more}}}`;

  async function sendOnce(): Promise<void> {
    const batch = outbox.first(mostInRequest, MOST_CHARACTERS);
    const events = batch.map(([, json]) => json);
    const hasBeat = isBeatDue;
    isBeatDue = false;
    if (hasBeat) events.push(written({ type: 'heartbeat' }));
    const told = whole;
    // The token may be that of the user before: another one is asked for, once for each user.
    const mayAsk = door.renews && askedFor !== who();
    let isOthers = false;
    debug('sends', events.length);
    try {
      const { ingestEvents } = await door.post<TrackEventsMutation>(bodyOf(TRACK, events), breaking.signal);
      mostInRequest = Math.min(mostInRequest * 2, MOST_IN_REQUEST);
      isTold ||= told === whole && events.some((json) => json.includes(told));
      ingestEvents.results.forEach(({ status, code, message }, at) => {
        const id = batch[at]?.[0];
        if (code === 'FORBIDDEN_IDENTITY' && mayAsk) {
          isOthers = true;
          return;
        }
        if (!id) return;
        // It is another user's, whose token may come back with a later page.
        if (code === 'FORBIDDEN_IDENTITY') outbox.park(id);
        else outbox.remove(id);
        if (status === 'REJECTED') report(new FootstepsError(code!, message!));
      });
      if (beatEvery > 0 && who()) tabs.heard(who(), Date.now());
    } catch (error) {
      const known = asFootstepsError(error);
      // Something in the request is at fault: it is found by halves, and the others are sent.
      const isFaulty = !isPassing(known) && !isRefused(known);
      if (!isFaulty) {
        isBeatDue ||= hasBeat;
        throw known;
      }
      if (batch.length > 1) mostInRequest = Math.ceil(batch.length / 2);
      // The next try is without the heartbeat.
      else if (batch.length === 0 || !hasBeat) {
        for (const [id] of batch) outbox.remove(id);
        report(known);
      }
    }
    if (!isOthers) return;
    isBeatDue ||= hasBeat;
    const asking = who();
    await door.credential(true);
    askedFor = asking;
  }

  async function sendAll(): Promise<void> {
    try {
      while ((outbox.size() > 0 || isBeatDue) && !isQuiet()) {
        await sendOnce();
        failures = 0;
        isCutOff = false;
      }
    } catch (error) {
      const known = error as FootstepsError;
      if (known.code !== 'ABORTED') {
        const wait = Math.min(FIRST_WAIT * 2 ** failures, LAST_WAIT) * (0.5 + Math.random() / 2);
        failures += 1;
        isCutOff = known.status === 0;
        notBefore = performance.now() + (isRefused(known) ? REFUSED_WAIT : Math.max(wait, timeOf(known.retryAfter)));
        report(known);
      }
      wake(0);
    }
  }

  function send(): Promise<void> {
    return (sending ??= sendAll().finally(() => (sending = undefined)));
  }

  /** Throws what `safely` tells. */
  function put(type: string, fields: EventFields): void {
    if (closed || isQuiet()) return;
    const now = Date.now();
    const id = newId(now);
    const json = written({ id, type, occurredAt: new Date(now).toISOString(), version, ...fields });
    // Else it would take the place of all others.
    if (json.length > MOST_CHARACTERS) throw new FootstepsError('TOO_LARGE', 'An event is too large.');
    outbox.add(id, json);
    wake(outbox.size() < MOST_IN_REQUEST ? flushEvery : 0);
  }

  /** These events, and then the end of the session. */
  function goodbye(events: readonly string[]): string {
    const input = { identity: user?.identity, deviceId: deviceId ?? undefined, close: true };
    return bodyOf(LEAVE, events, `,"tracks":${events.length > 0},"input":${JSON.stringify(input)}`);
  }

  /** A page is left. `persisted`: the browser keeps it, and may bring it back as it is. */
  function leave({ persisted }: { persisted: boolean }): void {
    const isSilent = isQuiet();
    const isLast = tabs.leave(Date.now()) && !persisted && beatEvery > 0 && who() !== '';
    const credential = door.known();
    if (credential === undefined || isSilent) return;
    // What is too much for it is kept, and goes with the next page.
    let left = LAST_BYTES;
    const events = outbox
      .first(MOST_IN_REQUEST, LAST_BYTES)
      .map(([, json]) => json)
      .filter((json) => (left -= new TextEncoder().encode(json).length) > 0);
    if (events.length === 0 && !isLast) return;
    const body = isLast ? goodbye(events) : bodyOf(TRACK, events);
    // The next page of this browser begins with a heartbeat.
    if (isLast) tabs.heard(who(), 0);
    fetch(door.url, { method: 'POST', headers: headersOf(credential), body, keepalive: true }).catch(() => {
      // The events are kept.
    });
  }

  function showOrHide(): void {
    hiddenAt = isHidden() ? performance.now() : Infinity;
    if (isHidden()) void send();
    else beatLater();
  }
  function online(): void {
    if (isCutOff) notBefore = 0;
    if (outbox.size() > 0 || isBeatDue) wake(0);
  }

  const listening: (() => void)[] = [];
  function listen(
    target: Pick<NonNullable<typeof page>, 'addEventListener' | 'removeEventListener'>,
    type: string,
    listener: (event: any) => void,
  ) {
    target.addEventListener(type, listener);
    listening.push(() => target.removeEventListener(type, listener));
  }

  /** Calls `then` after each navigation that the page makes itself. */
  function watchHistory({ history }: { history: PageHistory }, then: () => void): void {
    for (const way of ['pushState', 'replaceState'] as const) {
      const plain = history[way];
      const watched: typeof plain = function watched(...args) {
        plain.apply(this, args);
        then();
      };
      history[way] = watched;
      // Another program may have put its own around it.
      listening.push(() => history[way] === watched && (history[way] = plain));
    }
    listen(page!, 'popstate', then);
  }

  /** `fresh`: the id if there is none yet. The mark of opting in is one id for all tabs, whichever of them comes first. */
  function chooseDevice(fresh = mark): void {
    deviceId = null;
    if (!page || isQuiet()) return;
    deviceId = kept.get('device') ?? '';
    if (!DEVICE.test(deviceId)) deviceId = fresh || newId(Date.now());
    kept.set('device', deviceId);
  }

  function begin(): void {
    chooseDevice();
    outbox.adopt(Date.now(), true);
    if (outbox.size() > 0) wake(flushEvery);
    if (page && options.pageViews) viewPage();
    if (beatEvery > 0) beatTimer = setTimeout(beatLater, flushEvery);
  }

  const here = (): string | undefined => page?.location.pathname.slice(0, LONGEST_SOURCE);
  let viewed = '';
  function viewPage(): void {
    const { pathname } = page!.location;
    if (pathname === viewed) return;
    viewed = pathname;
    tracker.page();
  }

  if (options.user) become(options.user.identity, options.user);
  const tracker: Tracker = {
    identify: safely((identity, fields = {}) => {
      if (!become(identity, fields) || beatEvery === 0 || isQuiet()) return;
      // Tells the name, also if no event follows.
      isBeatDue = true;
      wake(flushEvery);
    }),
    reset: safely(({ newDevice = false } = {}) => {
      // Else the events that follow would be of the device's open session, and so of the user (rule 3).
      if (user && (deviceId ?? beatEvery)) put('sessionend', {});
      user = undefined;
      whole = '';
      isTold = true;
      isBeatDue = false;
      if (!newDevice) return;
      kept.remove('device');
      chooseDevice('');
    }),
    track: safely((type, fields = {}) => put(type, fields)),
    page: safely((fields = {}) =>
      put('page view', {
        source: here(),
        message: page?.document.title.slice(0, LONGEST_TEXT),
        ...fields,
      }),
    ),
    error: safely((error, fields = {}) => {
      // Anything may have been thrown, and written into an error.
      const cut = (text: unknown): string => String(text).slice(0, LONGEST_TEXT);
      const {
        name: type,
        message: text,
        stack,
      } = error instanceof Error ? error : { name: typeof error, message: error };
      const message = cut(text);
      const simple = { type, message, stack_trace: stack && cut(stack) };
      put('error', { source: here(), message, ...fields, data: { '@simple_error': simple, ...fields.data } });
    }),
    async flush() {
      await sending;
      if (outbox.size() > 0 || isBeatDue) await send();
      return outbox.size();
    },
    optOut() {
      for (const name of kept.names('')) kept.remove(name);
      leaveMark(OUT);
    },
    optIn() {
      if (isOut()) leaveMark(newId(Date.now()));
    },
    get isOptedOut() {
      return isQuiet();
    },
    get deviceId() {
      return deviceId;
    },
    async close(patience = 5) {
      beforeClose();
      clearTimeout(beatTimer);
      for (const stop of listening) stop();
      const isLast = tabs.leave(Date.now()) && beatEvery > 0 && who() !== '';
      let late: ReturnType<typeof setTimeout> | undefined;
      const isLate = new Promise<void>((resolve) => {
        late = setTimeout(() => {
          breaking.abort();
          resolve();
        }, timeOf(patience));
      });
      await Promise.race([tracker.flush(), isLate]);
      closed = true;
      clearTimeout(timer);
      if (isLast && !isQuiet() && !breaking.signal.aborted) await door.post(goodbye([]), breaking.signal).catch(report);
      clearTimeout(late);
      return outbox.size();
    },
  };

  if (page) {
    listen(page, 'pagehide', leave);
    listen(page, 'pageshow', ({ persisted }) => {
      if (!persisted) return;
      viewed = '';
      begin();
    });
    listen(page, 'online', online);
    listen(page, 'storage', ({ key, newValue }) => {
      isOut();
      outbox.hear(kept.nameOf(key), newValue);
    });
    listen(page.document, 'visibilitychange', showOrHide);
    if (isHidden()) hiddenAt = performance.now();
    if (options.pageViews) watchHistory(page, viewPage);
    if (options.errors) {
      let left = MOST_ERRORS;
      const unhandled = (error: unknown): void => {
        if (left > 0) tracker.error(error);
        left -= 1;
      };
      listen(page, 'error', ({ error, message }) => unhandled(error ?? message));
      listen(page, 'unhandledrejection', ({ reason }) => unhandled(reason));
    }
  }
  // A page that is made ready in advance may never be shown.
  if (page?.document.prerendering) listen(page.document, 'prerenderingchange', begin);
  else begin();
  return { tracker, door, report };
}
