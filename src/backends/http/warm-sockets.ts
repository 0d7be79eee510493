/**
 * Connections that are made before a request needs them: name resolution, TCP and TLS take as long as one to three requests. They wait
 * here until the connection pool asks for one. Nothing is sent over them before, so no service counts them as requests.
 */
import type { Socket } from 'node:net';
import type { buildConnector } from 'undici';

/** Milliseconds to keep a connection that nobody uses. Servers and load balancers commonly close them after 60 s. */
const KEEP = 50_000;
/** Milliseconds after which the pool may have closed what it took, so that more connections are of use. */
const PAUSE = 4_000;

interface Origin {
  readonly waiting: Set<Socket>;
  /** Connections being made. */
  pending: number;
  /** How many were made at last, and when, in milliseconds. */
  count: number;
  at: number;
}

type Connect = buildConnector.connector;

export class WarmSockets {
  readonly #connect: Connect;
  readonly #origins = new Map<string, Origin>();
  #isClosed = false;

  /** `connect` makes a connection. */
  constructor(connect: Connect) {
    this.#connect = connect;
  }

  /** Gives a connection that waits, else makes one. */
  readonly connector: Connect = (options, callback) => {
    const waiting = this.#origins.get(keyOf(options))?.waiting;
    for (const socket of waiting ?? []) {
      waiting?.delete(socket);
      if (socket.destroyed || !socket.writable || socket.readableLength > 0) {
        socket.destroy();
        continue;
      }
      socket.removeAllListeners('close').removeAllListeners('error').setTimeout(0).ref();
      process.nextTick(callback, null, socket);
      return;
    }
    this.#connect(options, callback);
  };

  /** Makes connections until `count` wait or were made a moment ago. A failure is not told: a request will meet it. */
  open(url: URL, count: number): void {
    const options = {
      protocol: url.protocol,
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      host: url.host,
      port: url.port,
    };
    const key = keyOf(options);
    const origin = this.#origins.get(key) ?? { waiting: new Set(), pending: 0, count: 0, at: 0 };
    this.#origins.set(key, origin);
    const isRecent = Date.now() - origin.at < PAUSE;
    const there = isRecent ? origin.count : origin.waiting.size + origin.pending;
    if (there >= count || this.#isClosed) return;
    origin.count = count;
    origin.at = Date.now();
    for (let i = there; i < count; i += 1) {
      origin.pending += 1;
      this.#connect(options, (error: Error | null, socket: Socket | null) => {
        origin.pending -= 1;
        if (error === null && socket !== null) this.#keep(socket, origin.waiting);
      });
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const { waiting } of this.#origins.values()) for (const socket of waiting) socket.destroy();
  }

  #keep(socket: Socket, waiting: Set<Socket>): void {
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    waiting.add(socket);
    socket
      .on('close', () => void waiting.delete(socket))
      .on('error', () => void waiting.delete(socket))
      .setTimeout(KEEP, () => void socket.destroy())
      .unref();
  }
}

function keyOf({
  protocol,
  hostname,
  port,
}: Pick<buildConnector.Options, 'protocol' | 'hostname' | 'port'>): string {
  return `${protocol}//${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}
