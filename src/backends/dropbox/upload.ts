/**
 * Stores files: a small one with one request, a large one in a session whose parts go at the same time ("concurrent" sessions). Dropbox
 * compares the hash of each part, and of the whole file, with what arrived.
 */
import { abortError, untilAborted } from '../../base/abort.ts';
import { SregistryError } from '../../base/errors.ts';
import { hashFile } from '../../base/hash.ts';
import { isJsonObject } from '../../settings/json.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { type Part, uploadInParallel } from '../kit/parallel-upload.ts';
import { withRetries } from '../kit/retries.ts';
import type { PutOptions, SourceFile } from '../kit/store.ts';
import type { DropboxApi } from './api.ts';
import { isFailure } from './failure.ts';
import { type DropboxFile, toFile } from './files.ts';

const MEBIBYTE = 1024 * 1024;
/** Bytes up to which one request sends the whole file. Dropbox takes 150 MB, but none of it again if the connection breaks. */
const SMALL = 8 * MEBIBYTE;
/** Parts are multiples of this, except the last one ("upload_session/append_v2"). */
const GRANULE = 4 * MEBIBYTE;
/** Parts of an upload, as far as they need not be larger than a request may be (150 MB). */
const MOST_PARTS = 1000;
const LARGEST_PART = 128 * MEBIBYTE;
/** Milliseconds of silence after the last byte, in which the service may put a large file together. */
const CLOSE_STALL = 300_000;

/** A session that Dropbox has forgotten, or that cannot come to an end. */
const IS_LOST = /(^|lookup_failed\/)(not_found|closed|incorrect_offset)/;

export interface Target {
  /** In messages. */
  readonly what: string;
  readonly path: string;
}

export async function putFile(
  api: DropboxApi,
  target: Target,
  file: SourceFile,
  options: Pick<PutOptions, 'ifAbsent' | 'progress' | 'signal' | 'resume'>,
): Promise<DropboxFile> {
  const { signal } = options;
  const send = file.size <= SMALL ? putWhole : putInParts;
  // A session that an earlier push left may be gone. The state that named it is forgotten by then.
  const stored = await withRetries(() => send(api, target, file, options), {
    what: target.what,
    attempts: (error) => (isFailure(error, IS_LOST) ? 2 : 1),
    signal,
  });
  if (stored.hash === undefined || file.blocks === undefined || stored.hash === file.blocks) return stored;
  await api.ask('files/delete_v2', { path: target.path, parent_rev: stored.rev }, { signal });
  throw changedWhilePushed(`${target.what}: Dropbox stored other bytes than the file had`);
}

/** How a file takes its place. Without `strict_conflict`, a file with the same bytes would be no conflict. */
export function commitOf({ path }: Target, ifAbsent?: boolean) {
  return {
    path,
    mode: ifAbsent ? 'add' : 'overwrite',
    autorename: false,
    mute: true,
    strict_conflict: ifAbsent === true,
  };
}

async function putWhole(
  api: DropboxApi,
  target: Target,
  file: SourceFile,
  { ifAbsent, signal }: Pick<PutOptions, 'ifAbsent' | 'signal'>,
): Promise<DropboxFile> {
  const arg = { ...commitOf(target, ifAbsent), content_hash: file.blocks };
  let sent = 0;
  const body = () => {
    sent += 1;
    return file.open();
  };
  const headers = { 'content-length': String(file.size) };
  const limits = { timeout: Number.POSITIVE_INFINITY, idempotent: true };
  return committed(api, target, file, {
    commit: async () =>
      toFile((await api.send('files/upload', arg, { headers, body, ...limits, signal })).json()),
    wasSent: () => sent > 1,
    signal,
  });
}

async function putInParts(
  api: DropboxApi,
  target: Target,
  file: SourceFile,
  options: Pick<PutOptions, 'ifAbsent' | 'progress' | 'signal' | 'resume'>,
): Promise<DropboxFile> {
  const { ifAbsent, signal } = options;
  const { size } = file;
  const partSize = Math.min(LARGEST_PART, Math.max(SMALL, Math.ceil(size / MOST_PARTS / GRANULE) * GRANULE));
  const count = Math.ceil(size / partSize);
  const others = countdown(count - 1);
  return uploadInParallel(
    {
      what: target.what,
      file,
      identity: { api: api.hosts.content, path: target.path },
      partSize,
      start: async () => {
        const reply = await api.send(
          'files/upload_session/start',
          { session_type: 'concurrent' },
          { body: '', idempotent: true, signal },
        );
        return sessionIn(target, reply.json());
      },
      // A session does not tell its parts.
      list: async (_id, saved) => {
        for (const number of saved.keys()) if (number < count) others.done();
        return saved;
      },
      isSame: async () => false,
      send: async (id, part, body, canceled) => {
        const isLast = part.number === count;
        // The part that closes the session must come after all others.
        if (isLast) await others.wait(canceled, target.what);
        const hash = await hashOf(part, canceled);
        const cursor = { session_id: id, offset: part.start };
        const arg = { cursor, close: isLast, content_hash: hash };
        const headers = { 'content-length': String(part.end - part.start) };
        const limits = { timeout: Number.POSITIVE_INFINITY, idempotent: true, signal: canceled };
        try {
          await api.send('files/upload_session/append_v2', arg, { headers, body, ...limits });
        } catch (error) {
          if (!hasArrived(error, part, isLast)) throw error;
        }
        if (!isLast) others.done();
        return hash;
      },
      complete: (id) => {
        const cursor = { session_id: id, offset: size };
        const arg = { cursor, commit: commitOf(target, ifAbsent), content_hash: file.blocks };
        const limits = { stall: CLOSE_STALL, timeout: CLOSE_STALL, idempotent: true, signal };
        return committed(api, target, file, {
          commit: async () =>
            toFile((await api.send('files/upload_session/finish', arg, { body: '', ...limits })).json()),
          wasSent: () => true,
          signal,
        });
      },
      // Dropbox drops a session that nobody finishes after a week.
      abort: async () => {},
    },
    options,
  );
}

/** Has a part arrived although its request failed? Then only the answer to an earlier attempt was lost. */
function hasArrived(error: unknown, { end }: Part, isLast: boolean): boolean {
  if (isLast && isFailure(error, /^closed/)) return true;
  return isFailure(error, /^incorrect_offset/) && (error.correctOffset ?? 0) >= end;
}

interface Committing {
  commit(): Promise<DropboxFile>;
  /** May an earlier attempt have succeeded without an answer? */
  wasSent(): boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Puts the file in its place. If it is there already with these bytes, an attempt whose answer was lost has done it. */
async function committed(
  api: DropboxApi,
  { path }: Target,
  { blocks }: SourceFile,
  { commit, wasSent, signal }: Committing,
): Promise<DropboxFile> {
  try {
    return await commit();
  } catch (error) {
    const isRepeated = isFailure(error, /conflict|not_found/) && wasSent();
    if (!isRepeated || blocks === undefined) throw error;
    const present = await unlessAbsent(api.ask('files/get_metadata', { path }, { idempotent: true, signal }));
    const file = isJsonObject(present) && present['.tag'] === 'file' ? toFile(present) : undefined;
    if (file?.hash !== blocks) throw error;
    return file;
  }
}

/** The hash of a part. */
async function hashOf({ path, start, end }: Part, signal: AbortSignal): Promise<string> {
  return (await hashFile(path, ['blocks'], { start, end, signal })).blocks;
}

function sessionIn({ what }: Target, answer: unknown): string {
  const { session_id: id } = isJsonObject(answer) ? answer : {};
  if (typeof id === 'string' && id !== '') return id;
  throw new SregistryError('SERVICE', `${what}: Dropbox opened an upload without an id`);
}

/** Waits until something has happened `left` times. */
function countdown(left: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  let missing = left;
  if (missing <= 0) resolve();
  return {
    done: () => {
      missing -= 1;
      if (missing <= 0) resolve();
    },
    wait: (signal: AbortSignal, what: string) =>
      untilAborted(promise, signal).catch(() => {
        throw abortError(signal, what);
      }),
  };
}
