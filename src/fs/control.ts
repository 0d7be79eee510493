/**
 * The mount's control socket: one JSON request a line, one JSON answer a line. The socket lies in the runtime directory, which
 * only its owner can enter. Its name is made from the mount point. mount-record.ts lists the mounts.
 */
import { lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, type ErrorCode, isError, SregistryError } from '../base/errors.ts';
import { isOurs } from '../base/private.ts';
import type { Unreachable } from '../client/health.ts';
import { hasRuntimeDir } from '../settings/paths.ts';
import type { Cut, OpenPath } from './in-use.ts';
import { socketPath } from './mount-record.ts';

export interface MountStatus {
  readonly mountpoint: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  /** Of the sregistry that serves the mount. Version 0.1.0 did not tell it at first: undefined. */
  readonly version?: string | undefined;
  readonly backends: readonly string[];
  /** Those that do not answer. Undefined for a mount of a version that does not tell. */
  readonly unreachable?: readonly Unreachable[] | undefined;
  /** Path of the log; empty for a mount in the foreground. */
  readonly log?: string | undefined;
  readonly cache: { readonly path: string; readonly bytes: number; readonly limit: number };
  /** Bytes that came over the network since the mount. */
  readonly fetchedBytes: number;
  readonly transfers: readonly unknown[];
  readonly openFiles: number;
  /** A path for each open file. */
  readonly open: readonly OpenPath[];
  /** Pushes under way in this mount. */
  readonly pushing: number;
}

export interface ControlRequests {
  status: { request: object; answer: MountStatus };
  /**
   * Unmounts, and answers when that is done. Without `force`, waits for the pushes under way. If the mount is in use, answers
   * BUSY and changes nothing; if the caller hangs up first, also changes nothing. With `force`, unmounts at once and answers
   * what was cut off.
   */
  unmount: { request: { force: boolean }; answer: { cut: Cut } };
  /** Pushes a kept file as it is, or drops it. `record` is its id in the journal. */
  kept: { request: { record: string; act: 'push' | 'drop' }; answer: object };
  /** Forgets the answers of one backend, or of all. */
  forget: { request: { backend?: string }; answer: object };
}

type Handlers = {
  [K in keyof ControlRequests]: (
    request: ControlRequests[K]['request'],
    /** Fires when the caller hangs up. */
    signal: AbortSignal,
  ) => Promise<ControlRequests[K]['answer']>;
};

/** Answers requests until it is closed. */
export async function serveControl(socket: string, handlers: Handlers): Promise<Server> {
  await rm(socket, { force: true });
  const server = createServer((connection) => serveConnection(connection, handlers));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(unlistenable(socket, cause)));
    server.listen(socket, resolve);
  });
  return server;
}

function unlistenable(socket: string, cause: Error): SregistryError {
  return new SregistryError('SETTINGS', `The mount cannot be controlled over ${socket}`, {
    hint: 'Set XDG_RUNTIME_DIR to a directory of yours with a short path',
    cause,
  });
}

/** Milliseconds that callers have to read their last answer. */
const FAREWELL = 1_000;

/** Stops listening. Waits for callers to read their answers, but not long. */
export async function closeControl(server: Server | undefined): Promise<void> {
  if (server === undefined) return;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  await Promise.race([closed, sleep(FAREWELL, undefined, { ref: false })]);
}

function serveConnection(connection: Socket, handlers: Handlers): void {
  const hungUp = new AbortController();
  connection.on('error', () => connection.destroy());
  connection.on('close', () => hungUp.abort(new SregistryError('CANCELED', 'Nobody waits for the answer')));
  linesOf(connection).on('line', async (line) => {
    try {
      const { request, ...parameters } = JSON.parse(line);
      if (!Object.hasOwn(handlers, request)) throw new Error(`unknown request ${request}`);
      const answer = await handlers[request as keyof Handlers](parameters, hungUp.signal);
      connection.write(`${JSON.stringify({ answer })}\n`);
    } catch (error) {
      connection.write(`${JSON.stringify({ error: toFailure(error) })}\n`);
    }
  });
}

/** readline passes an error of its input on; the connection's own listeners deal with it. */
function linesOf(connection: Socket) {
  return createInterface({ input: connection }).on('error', () => {});
}

/** An error on its way over the socket. */
interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
}

function toFailure(error: unknown): Failure {
  const { code, hint } = isError(error) ? error : { code: 'INTERNAL' as const, hint: undefined };
  return { code, message: describeError(error), hint };
}

/**
 * Asks a mount. Throws the error it answers with; UNREACHABLE if it does not answer within `timeout` milliseconds (0: no
 * limit), SETTINGS if its socket is not ours.
 */
export async function askMount<K extends keyof ControlRequests>(
  runtimeDir: string,
  mountpoint: string,
  request: K,
  parameters: ControlRequests[K]['request'],
  timeout: number,
  signal?: AbortSignal,
): Promise<ControlRequests[K]['answer']> {
  const failed = (why: string, cause?: unknown) =>
    new SregistryError('UNREACHABLE', `The mount at ${mountpoint} does not answer: ${why}`, {
      hint: 'Read its log, or end it with: sregistry unmount --force',
      cause,
    });
  const connection = createConnection(ownSocket(runtimeDir, mountpoint));
  const { promise, resolve, reject } = Promise.withResolvers<ControlRequests[K]['answer']>();
  const hangUp = () => reject(signal?.reason);
  signal?.addEventListener('abort', hangUp);
  if (signal?.aborted) hangUp();
  connection.setTimeout(timeout, () => reject(failed('it took too long')));
  connection.on('error', (cause) => reject(failed('its socket is closed', cause)));
  connection.on('close', () => reject(failed('it ended')));
  linesOf(connection).once('line', (line) => {
    try {
      const { answer, error } = JSON.parse(line);
      if (error === undefined) resolve(answer);
      else reject(new SregistryError(error.code ?? 'SERVICE', String(error.message ?? error), error));
    } catch (cause) {
      reject(failed('its answer is malformed', cause));
    }
  });
  connection.write(`${JSON.stringify({ request, ...parameters })}\n`);
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', hangUp);
    connection.destroy();
  }
}

/**
 * The path of a mount's socket. Throws SETTINGS if the socket or its directory belongs to another user, who would see the
 * requests.
 */
function ownSocket(runtimeDir: string, mountpoint: string): string {
  const path = socketPath(runtimeDir, mountpoint);
  const stats = hasRuntimeDir(runtimeDir) ? lstatSync(path, { throwIfNoEntry: false }) : undefined;
  // Connecting tells that nobody listens.
  if (stats === undefined || (stats.isSocket() && isOurs(stats))) return path;
  throw new SregistryError('SETTINGS', `Refusing to use ${path}: it is not a socket of yours.`, {
    hint: 'Remove it; sregistry unmount --force ends the mount',
  });
}
