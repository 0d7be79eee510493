/**
 * A network link in front of a server: one rate for all connections together, and a delay. A relay of its own process, so that it does
 * not wait for what is measured. Each direction has the whole rate, as a full-duplex link has.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface LinkOptions {
  /** Bits per second. */
  readonly rate: number;
  /** Milliseconds for the way there and back. */
  readonly roundTrip: number;
}

export interface Link extends AsyncDisposable {
  /** `localhost:PORT` */
  readonly host: string;
}

/** Bytes that may wait in the relay for one direction of a connection, so that others do not wait long behind them. */
const WINDOW = 512 * 1024;

/** @param port of the server, on the loopback. */
export async function startLink(port: number, { rate, roundTrip }: LinkOptions): Promise<Link> {
  const child: ChildProcess = fork(
    fileURLToPath(import.meta.url),
    [port, rate, roundTrip].map((option) => String(option)),
    { execArgv: [] },
  );
  const [own] = (await once(child, 'message')) as [number];
  return {
    host: `localhost:${own}`,
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

/** When the last byte that was given to it will have left: one for each direction of the link. */
interface Direction {
  free: number;
}

/** Each chunk leaves once all before it have left at the link's rate, and arrives after the delay. */
async function relay(
  from: Socket,
  to: Socket,
  link: Direction,
  bytesPerMs: number,
  delay: number,
): Promise<void> {
  const queue: { at: number; chunk: Buffer | undefined }[] = [];
  let waiting = 0;
  let wake = () => {};
  const put = (chunk: Buffer | undefined) => {
    const now = performance.now();
    link.free = Math.max(now, link.free) + (chunk?.length ?? 0) / bytesPerMs;
    queue.push({ at: link.free + delay, chunk });
    waiting += chunk?.length ?? 0;
    if (waiting > WINDOW) from.pause();
    wake();
  };
  from.on('data', put);
  from.on('end', () => put(undefined)).on('close', () => put(undefined));
  for (;;) {
    const next = queue.shift();
    if (next === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      continue;
    }
    const early = next.at - performance.now();
    if (early > 0) await sleep(early);
    if (next.chunk === undefined) break;
    waiting -= next.chunk.length;
    if (waiting <= WINDOW) from.resume();
    if (to.destroyed) break;
    if (!to.write(next.chunk)) await Promise.race([once(to, 'drain'), once(to, 'close')]).catch(() => {});
  }
  to.end();
}

/** The relay's process. */
async function serve(port: number, rate: number, roundTrip: number): Promise<void> {
  const [down, up]: [Direction, Direction] = [{ free: 0 }, { free: 0 }];
  const bytesPerMs = rate / 8 / 1000;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ port, host: 'localhost', allowHalfOpen: true, noDelay: true });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
    void relay(client, upstream, up, bytesPerMs, roundTrip / 2);
    void relay(upstream, client, down, bytesPerMs, roundTrip / 2);
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  process.send?.((server.address() as { port: number }).port);
  process.once('disconnect', () => process.exit(0));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, rate, roundTrip] = process.argv.slice(2).map(Number) as [number, number, number];
  await serve(port, rate, roundTrip);
}
