import { spawn, type ChildProcess, type SendHandle } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';

/**
 * How many connections a turn of the event loop accepts beside the server's own. With 2, 5,500 pages that come back within 5 s have
 * all started after 10.5 s (without: 15 to 20), and a new connection of anybody else waits 5 s at most (without: 10 to 16). With 8
 * it is 9.5 and 4.4 s, but then those who are connected already wait twice as long meanwhile (test/bench/README.md, P2).
 */
export const DOORS = 2;
/** So many connections within so many milliseconds are a rush. While a server is busy, few come in a second: one in a turn. */
const RUSH = { connections: 20, within: 1_000 };
/** How long the other process may take. Milliseconds. */
const PATIENCE = 10_000;
/** The other process sends back what it gets. It gets the bare handle: with a server it would accept connections itself. */
const ECHO = "process.on('message', (_, handle) => process.send('', handle));";

/**
 * More doors for a server to which many connect at once. Node accepts one connection of a listening socket in a turn of the event
 * loop. While a thousand viewers come, turns are long, and whoever connects then waits behind all of them. Each further handle of
 * the same listening socket accepts one more in a turn.
 *
 * Node has no function that copies a handle (`reusePort` is in Node 22.12 and later only, and would let other programs listen beside
 * this one). But a handle that is sent to another process and back is a copy. So the first rush starts a process for some 0.1 s.
 * If that fails, the server goes on with its own door.
 */
export class MoreDoors {
  private readonly doors: Server[] = [];
  private came = 0;
  private since = -Infinity;
  private isOpened = false;
  private isClosed = false;
  private echo: ChildProcess | null = null;

  constructor(
    private readonly server: Server,
    /** How many connections may wait in the socket that all doors share: whoever listens last says it. */
    private readonly backlog: number,
    /** Takes a connection as the server does. */
    private readonly take: (socket: Socket) => void,
  ) {}

  /** How many are open. */
  get count(): number {
    return this.doors.length;
  }

  /** The server has accepted a connection. */
  connectionCame(now: number): void {
    if (this.isOpened) return;
    if (now - this.since > RUSH.within) {
      this.since = now;
      this.came = 0;
    }
    this.came += 1;
    if (this.came < RUSH.connections) return;
    this.isOpened = true;
    this.open();
  }

  /** Accepts nothing new. Resolves when all connections that came through these doors have ended. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.stopEcho();
    await Promise.all(this.doors.map((door) => new Promise((resolve) => door.close(resolve))));
  }

  private open(): void {
    const echo = spawnEcho();
    // Without an id there is no process (too many files are open): to end it could end the group of this one.
    if (echo?.pid === undefined) return;
    this.echo = echo;
    echo.on('error', () => {});
    const late = setTimeout(() => this.stopEcho(), PATIENCE).unref();
    echo.on('exit', () => clearTimeout(late));
    const ask = (): void => {
      if (this.isClosed || this.doors.length === DOORS || !echo.connected) this.stopEcho();
      else echo.send('', handleOf(this.server), () => {});
    };
    echo.on('message', (_message, handle) => {
      if (handle) this.add(handle);
      ask();
    });
    ask();
  }

  private stopEcho(): void {
    this.echo?.kill('SIGKILL');
    this.echo = null;
  }

  private add(handle: SendHandle): void {
    // As Node's HTTP server makes its own.
    const door = createServer({ allowHalfOpen: true, noDelay: true }, this.take);
    door.on('error', () => {});
    door.listen(handle, this.backlog);
    if (this.isClosed) door.close();
    else this.doors.push(door);
  }
}

/** Null: this process may start no other. */
function spawnEcho(): ChildProcess | null {
  try {
    return spawn(process.execPath, ['-e', ECHO], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      // It needs none of the secrets that stand in the environment.
      env: {},
    });
  } catch {
    return null;
  }
}

/** The handle of a server that listens. `listen` takes it too. */
const handleOf = (server: Server): SendHandle => (server as unknown as Record<string, SendHandle>)['_handle']!;
