import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  /** Milliseconds that everything takes longer, each way, from now on. */
  delay: number;
  /** Resets every connection; new ones are taken. */
  cut(): void;
  /** From now on nothing arrives, either way, and nobody is told: the network is gone. */
  blackhole(): void;
  /** Resets every connection and each new one. */
  refuse(): void;
  /** All is well again; what was under way goes on where TCP left it. */
  heal(): void;
  close(): Promise<void>;
}

interface Pair {
  readonly here: Socket;
  /** Null while the way there is closed. */
  there: Socket | null;
}

/** A TCP proxy to a port of this machine, with faults. */
export async function startProxy(target: number): Promise<Proxy> {
  const pairs = new Set<Pair>();
  let mode: 'pass' | 'blackhole' | 'refuse' = 'pass';

  function end(pair: Pair): void {
    pairs.delete(pair);
    for (const socket of [pair.here, pair.there]) if (socket && !socket.destroyed) socket.resetAndDestroy();
  }

  function forward(from: Socket, to: Socket, pair: Pair): void {
    from.on('data', (data: Buffer) => {
      const write = (): void => {
        if (to.destroyed || to.write(data) || mode !== 'pass') return;
        from.pause();
        to.once('drain', () => mode === 'pass' && from.resume());
      };
      if (proxy.delay > 0) setTimeout(write, proxy.delay);
      else write();
    });
    from.on('end', () => mode === 'pass' && to.end());
    from.on('error', () => end(pair));
    from.on('close', () => end(pair));
    if (mode === 'blackhole') from.pause();
  }

  function open(pair: Pair): void {
    const there = connect(target, '127.0.0.1');
    pair.there = there;
    forward(pair.here, there, pair);
    forward(there, pair.here, pair);
  }

  const server = createServer((here) => {
    if (mode === 'refuse') {
      here.resetAndDestroy();
      return;
    }
    const pair: Pair = { here, there: null };
    pairs.add(pair);
    here.setNoDelay(true);
    if (mode === 'pass') open(pair);
    else {
      here.pause();
      here.on('error', () => end(pair));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const proxy: Proxy = {
    port: (server.address() as AddressInfo).port,
    delay: 0,
    cut() {
      for (const pair of pairs) end(pair);
    },
    blackhole() {
      mode = 'blackhole';
      for (const { here, there } of pairs) {
        here.pause();
        there?.pause();
      }
    },
    refuse() {
      mode = 'refuse';
      proxy.cut();
    },
    heal() {
      mode = 'pass';
      proxy.delay = 0;
      for (const pair of pairs) {
        if (!pair.there) open(pair);
        pair.here.resume();
        pair.there?.resume();
      }
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      proxy.cut();
      await closed;
    },
  };
  return proxy;
}
