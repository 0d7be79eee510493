/**
 * The mount's control socket: one JSON request a line, one JSON answer a line. It lies in the runtime directory, which
 * only its owner can enter, beside a small file that says which mount it belongs to.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, SregistryError } from '../base/errors.ts';
import { isAlive, type ProcessId } from '../base/process.ts';

/** What is known of a mount without asking it. */
export interface MountRecord extends ProcessId {
  readonly mountpoint: string;
  readonly socket: string;
  readonly log: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

export interface MountStatus {
  readonly mountpoint: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  readonly backends: readonly string[];
  readonly cache: { readonly path: string; readonly bytes: number; readonly limit: number };
  /** Bytes that came over the network since the mount. */
  readonly fetchedBytes: number;
  readonly transfers: readonly unknown[];
  readonly openFiles: number;
  /** Pushes under way in this mount. */
  readonly pushing: number;
}

export interface ControlRequests {
  status: { request: object; answer: MountStatus };
  /** Ends the mount; waits for pushes unless `force`. Answers when it is unmounted. */
  unmount: { request: { force: boolean }; answer: object };
  /** Forgets what is known of a backend, or of all. */
  forget: { request: { backend?: string }; answer: object };
}

type Handlers = {
  [K in keyof ControlRequests]: (
    request: ControlRequests[K]['request'],
  ) => Promise<ControlRequests[K]['answer']>;
};

const recordName = (mountpoint: string) => createHash('sha256').update(mountpoint).digest('hex').slice(0, 24);

export function recordPath(runtimeDir: string, mountpoint: string): string {
  return join(runtimeDir, `${recordName(mountpoint)}.json`);
}

export function socketPath(runtimeDir: string, mountpoint: string): string {
  return join(runtimeDir, `${recordName(mountpoint)}.sock`);
}

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

/** Milliseconds that clients get to take their last answer. */
const FAREWELL = 1_000;

/** Stops listening and waits until clients have taken their answers, but not long. */
export async function closeControl(server: Server | undefined): Promise<void> {
  if (server === undefined) return;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  await Promise.race([closed, sleep(FAREWELL, undefined, { ref: false })]);
}

function serveConnection(connection: Socket, handlers: Handlers): void {
  connection.on('error', () => connection.destroy());
  linesOf(connection).on('line', async (line) => {
    try {
      const { request, ...parameters } = JSON.parse(line);
      if (!Object.hasOwn(handlers, request)) throw new Error(`unknown request ${request}`);
      const answer = await handlers[request as keyof Handlers](parameters);
      connection.write(`${JSON.stringify({ answer })}\n`);
    } catch (error) {
      connection.write(`${JSON.stringify({ error: describeError(error) })}\n`);
    }
  });
}

/** readline passes an error of its input on; the connection's own listeners deal with it. */
function linesOf(connection: Socket) {
  return createInterface({ input: connection }).on('error', () => {});
}

/** Asks a mount. UNREACHABLE where it does not answer within `timeout` milliseconds (0: it may take its time). */
export async function askMount<K extends keyof ControlRequests>(
  record: Pick<MountRecord, 'socket' | 'mountpoint'>,
  request: K,
  parameters: ControlRequests[K]['request'],
  timeout: number,
  signal?: AbortSignal,
): Promise<ControlRequests[K]['answer']> {
  const connection = createConnection(record.socket);
  const failed = (why: string, cause?: unknown) =>
    new SregistryError('UNREACHABLE', `The mount at ${record.mountpoint} does not answer: ${why}`, {
      hint: 'Its log tells more; sregistry unmount --force ends it',
      cause,
    });
  try {
    return await new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
      connection.setTimeout(timeout, () => reject(failed('it did not in time')));
      connection.on('error', (cause) => reject(failed('its socket is closed', cause)));
      connection.on('close', () => reject(failed('it ended')));
      linesOf(connection).once('line', (line) => {
        const { answer, error } = JSON.parse(line);
        if (error !== undefined) reject(new SregistryError('SERVICE', String(error)));
        else resolve(answer);
      });
      connection.write(`${JSON.stringify({ request, ...parameters })}\n`);
    });
  } finally {
    connection.destroy();
  }
}

export async function writeRecord(runtimeDir: string, record: MountRecord): Promise<void> {
  await writeFile(recordPath(runtimeDir, record.mountpoint), JSON.stringify(record), { mode: 0o600 });
}

export async function removeRecord(runtimeDir: string, mountpoint: string): Promise<void> {
  await rm(recordPath(runtimeDir, mountpoint), { force: true });
  await rm(socketPath(runtimeDir, mountpoint), { force: true });
}

/** The mounts of this user whose processes live; records of dead ones are cleared away. */
export async function listMounts(runtimeDir: string): Promise<MountRecord[]> {
  const mounts: MountRecord[] = [];
  for (const name of await readdir(runtimeDir).catch(() => [])) {
    if (!name.endsWith('.json')) continue;
    const record = await readFile(join(runtimeDir, name), 'utf8')
      .then((text) => JSON.parse(text) as MountRecord)
      .catch(() => undefined);
    if (record === undefined) continue;
    if (isAlive(record)) mounts.push(record);
    else await removeRecord(runtimeDir, record.mountpoint);
  }
  return mounts;
}
