import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  /** Delay of all data in each direction from now on. Milliseconds. */
  delay: number;
  /** Resets every connection; new ones are accepted. */
  cut(): void;
  /** From now on no data passes in either direction, and no connection ends: as if the network were gone. */
  blackhole(): void;
  /** Resets every connection and each new one. */
  refuse(): void;
  /** Ends all faults. Open connections continue where TCP left off. */
  heal(): void;
  close(): Promise<void>;
}

interface Pair {
  readonly here: Socket;
  /** Null until the connection to the target is opened. */
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
    from.on('end', () => {
      const goOn = (): void => void (mode === 'pass' && to.end());
      // Not before the data in front of it.
      if (proxy.delay > 0) setTimeout(goOn, proxy.delay);
      else goOn();
    });
    from.on('error', () => end(pair));
    from.on('close', () => end(pair));
    if (mode === 'blackhole') from.pause();
  }

  function open(pair: Pair): void {
    const there = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true });
    pair.there = there;
    forward(pair.here, there, pair);
    forward(there, pair.here, pair);
  }

  // Half open: one direction's end says nothing of the other.
  const server = createServer({ allowHalfOpen: true }, (here) => {
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
