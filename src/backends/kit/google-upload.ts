/**
 * Google's resumable uploads, for {@link uploadInOrder} (Cloud Storage: cloud.google.com/storage/docs/performing-resumable-uploads,
 * Drive: developers.google.com/workspace/drive/api/guides/manage-uploads). A request with the metadata opens a session and gets its
 * address. A PUT of a chunk is answered with 308 and the range that has arrived, or with the finished file. An empty PUT asks for the
 * same. The file appears with its last byte. A session lives for a week.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { BufferedResponse, RequestOptions } from '../http.ts';
import { type OrderedUpload, type Received, SessionLost } from './ordered-upload.ts';

export interface GoogleUpload<R>
  extends Pick<OrderedUpload<string, R>, 'what' | 'file' | 'identity' | 'parse'> {
  /** Opens a session and returns its address. */
  open(): Promise<string>;
  /** Sends a PUT to the address of a session. */
  put(address: string, options: RequestOptions): Promise<BufferedResponse>;
  /** The finished file, from the JSON of the last answer. */
  toResult(value: unknown): R;
}

/** Bytes of a PUT; multiples of 256 KiB, as the services require. */
const CHUNK = 16 * 1024 * 1024;
/** Milliseconds of silence after the last byte, in which the service may put a large file together. */
const CLOSE_STALL = 300_000;
/** "Resume Incomplete": the service has a part and wants more. */
const INCOMPLETE = 308;

/** The upload of a file in a session, whose state is its address. */
export function googleUpload<R>(upload: GoogleUpload<R>): OrderedUpload<string, R> {
  const { what, file, identity, parse } = upload;

  /** 404 and 410 for a session that has expired or failed; 499 for one that was canceled. */
  const put = async (address: string, options: RequestOptions): Promise<Received<string, R>> => {
    try {
      const reply = await upload.put(address, { ...options, allow: [INCOMPLETE] });
      if (reply.status !== INCOMPLETE) return { done: upload.toResult(reply.json()) };
      return { session: address, offset: arrivedIn(what, reply) };
    } catch (error) {
      if (isError(error, 'NOT_FOUND') || (isError(error) && error.status === 499))
        throw new SessionLost(what, error);
      throw error;
    }
  };

  return {
    what,
    file,
    identity,
    parse,
    chunk: CHUNK,
    start: async () => ({ session: await upload.open(), offset: 0 }),
    ask: (address) => {
      const headers = { 'content-length': '0', 'content-range': `bytes */${file.size}` };
      return put(address, { headers, body: '' });
    },
    send: (address, { start, end, body }) =>
      put(address, {
        headers: {
          'content-length': String(end - start),
          'content-range': `bytes ${start}-${end - 1}/${file.size}`,
        },
        body,
        // After a failure the service is asked what it has before anything is sent again.
        idempotent: false,
        stall: CLOSE_STALL,
        timeout: Number.POSITIVE_INFINITY,
      }),
  };
}

/** Bytes that have arrived: `Range: bytes=0-<last byte>` of an incomplete upload; absent if nothing has arrived. */
function arrivedIn(what: string, { headers: { range } }: BufferedResponse): number {
  if (range === undefined) return 0;
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(range)?.[1];
  if (last === undefined)
    throw new SregistryError('SERVICE', `${what}: an upload of unknown length (${range.slice(0, 60)})`);
  return Number(last) + 1;
}
