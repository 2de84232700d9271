import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface SlowLine {
  readonly port: number;
  /** Bytes a second that each connection receives from now on; 0: none. */
  rate: number;
  /** Bytes received so far. */
  readonly brought: number;
  close(): Promise<void>;
}

/** How often the line reads. Milliseconds. */
const TICK = 10;

/** Starts a TCP proxy to a port of this machine that reads at most so many bytes a second from it. */
export async function startSlowLine(target: number, rate: number): Promise<SlowLine> {
  const open = new Set<Socket>();
  let brought = 0;

  const server = createServer((here) => {
    const there = connect(target, '127.0.0.1');
    /** Bytes that may be read now; below zero if too many were read before. */
    let due = 0;
    there.on('data', (data: Buffer) => {
      due -= data.length;
      brought += data.length;
      here.write(data);
      if (due <= 0) there.pause();
    });
    const tick = setInterval(() => {
      due = Math.min(due + (line.rate * TICK) / 1000, line.rate);
      if (due > 0) there.resume();
      else there.pause();
    }, TICK);
    here.pipe(there, { end: false });
    for (const [one, other] of [
      [here, there],
      [there, here],
    ] as const) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        clearInterval(tick);
        open.delete(one);
        other.end();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const line: SlowLine = {
    port: (server.address() as AddressInfo).port,
    rate,
    get brought() {
      return brought;
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
  return line;
}
