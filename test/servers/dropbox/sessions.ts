/** Upload sessions: sequential ones, and concurrent ones whose parts come in any order. */
import { randomUUID } from 'node:crypto';
import { contentHash } from './files.ts';
import { badRequest, refused } from './refusal.ts';

export interface FakeSession {
  readonly isConcurrent: boolean;
  isClosed: boolean;
  /** Parts by their offset. */
  readonly parts: Map<number, Buffer>;
}

/** Bytes of a part of a concurrent session are a multiple of this, except those of the last one. */
const GRANULE = 4 * 1024 * 1024;
const LARGEST_REQUEST = 150 * 1024 * 1024;

type Arg = Readonly<Record<string, unknown>>;

export class FakeSessions {
  readonly all = new Map<string, FakeSession>();

  start({ session_type: type, close, content_hash: hash }: Arg, bytes: Buffer): string {
    const tag = typeof type === 'object' && type !== null ? (type as Arg)['.tag'] : (type ?? 'sequential');
    if (tag !== 'sequential' && tag !== 'concurrent')
      throw badRequest(`session_type: unknown tag ${String(tag)}`);
    checkBytes(bytes, hash);
    const session: FakeSession = { isConcurrent: tag === 'concurrent', isClosed: false, parts: new Map() };
    if (session.isConcurrent && bytes.length > 0) throw refused('concurrent_session_data_not_allowed');
    if (session.isConcurrent && close === true) throw refused('concurrent_session_close_not_allowed');
    session.isClosed = close === true;
    if (bytes.length > 0) session.parts.set(0, bytes);
    const id = `pid_upload_session:${randomUUID()}`;
    this.all.set(id, session);
    return id;
  }

  append({ cursor, close, content_hash: hash }: Arg, bytes: Buffer): void {
    const { session, offset } = this.#at(cursor, '');
    if (session.isClosed) throw refused('closed');
    checkBytes(bytes, hash);
    if (!session.isConcurrent) {
      const size = sizeOf(session);
      if (offset !== size) throw refused('incorrect_offset', { correct_offset: size });
    } else {
      if (offset % GRANULE !== 0) throw refused('concurrent_session_invalid_offset');
      if (bytes.length % GRANULE !== 0 && close !== true)
        throw refused('concurrent_session_invalid_data_size');
    }
    if (bytes.length > 0) session.parts.set(offset, bytes);
    session.isClosed = close === true;
  }

  /** The bytes of a session that is finished with these, and what removes it. */
  finish(
    { cursor, content_hash: hash }: Arg,
    bytes: Buffer,
  ): { readonly bytes: Buffer; readonly drop: () => void } {
    const { id, session, offset } = this.#at(cursor, 'lookup_failed/');
    if (session.isConcurrent && bytes.length > 0) throw refused('concurrent_session_data_not_allowed');
    if (session.isConcurrent && !session.isClosed) throw refused('concurrent_session_not_closed');
    const size = sizeOf(session);
    if (offset !== size) throw refused('lookup_failed/incorrect_offset', { correct_offset: size });
    const parts = [...session.parts].sort(([a], [b]) => a - b);
    let end = 0;
    for (const [start, part] of parts) {
      if (start !== end) throw refused('concurrent_session_missing_data');
      end += part.length;
    }
    const whole = Buffer.concat([...parts.map(([, part]) => part), bytes]);
    checkBytes(whole, hash);
    return { bytes: whole, drop: () => this.all.delete(id) };
  }

  #at(cursor: unknown, prefix: string) {
    const { session_id: id, offset } = (cursor ?? {}) as Arg;
    if (typeof id !== 'string' || !Number.isSafeInteger(offset)) throw badRequest('cursor: missing fields');
    const session = this.all.get(id);
    if (session === undefined) throw refused(`${prefix}not_found`);
    return { id, session, offset: offset as number };
  }
}

function sizeOf({ parts }: FakeSession): number {
  return Math.max(0, ...[...parts].map(([start, { length }]) => start + length));
}

export function checkBytes(bytes: Buffer, hash: unknown): void {
  if (bytes.length > LARGEST_REQUEST && hash === undefined) throw refused('payload_too_large');
  if (hash !== undefined && hash !== null && hash !== contentHash(bytes))
    throw refused('content_hash_mismatch');
}
