/**
 * The faults of a round: which request gets which one, by chance. Each is a fault that services, or what stands before them,
 * really have; none of them is a right answer by HTTP's rules, so that a client can tell. The exception is a flipped bit, which
 * only a digest can tell.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { answer, cutAfter, type Fault, hang, shiftRange, stallAfter } from '../servers/fault-proxy.ts';
import type { Random } from './random.ts';

export type FaultKind =
  | 'reset'
  | 'stall'
  | '429'
  | '500'
  | '502'
  | '503'
  | 'redirect'
  | 'cut'
  | 'stalled-body'
  | 'truncated'
  | 'shifted-range'
  | 'other-range'
  | 'no-range'
  | 'lost-answer'
  | 'cut-upload'
  | 'wrong-bytes';

export type Weights = Partial<Record<FaultKind, number>>;

/** Of every kind that a client can tell by itself. Stalls are rare: each takes its time, in which nothing else is tried. */
export const USUAL: Weights = {
  reset: 10,
  stall: 0.4,
  '429': 8,
  '500': 8,
  '502': 4,
  '503': 10,
  redirect: 5,
  cut: 12,
  'stalled-body': 0.4,
  truncated: 8,
  'shifted-range': 6,
  'other-range': 6,
  'no-range': 4,
  'lost-answer': 6,
  'cut-upload': 8,
};

const ON_RANGES = new Set<FaultKind>(['shifted-range', 'other-range', 'no-range']);
const ON_DOWNLOADS = new Set<FaultKind>(['cut', 'stalled-body', 'truncated', 'wrong-bytes', ...ON_RANGES]);
const ON_UPLOADS = new Set<FaultKind>(['lost-answer', 'cut-upload']);

/** Could this fault happen to this request? */
function fits(kind: FaultKind, { method, headers }: IncomingMessage): boolean {
  if (ON_RANGES.has(kind)) return method === 'GET' && headers.range !== undefined;
  if (ON_DOWNLOADS.has(kind)) return method === 'GET';
  // The S3 service here stores what has arrived of a body that was cut; a real one compares it with its length and its hash.
  if (kind === 'cut-upload' && headers['x-amz-content-sha256'] !== undefined) return false;
  if (ON_UPLOADS.has(kind)) return method !== 'GET' && method !== 'HEAD';
  return true;
}

/** One of the faults that fit, by weight; undefined where none does. */
export function chooseFault(
  weights: Weights,
  request: IncomingMessage,
  random: Random,
): FaultKind | undefined {
  const fitting = Object.entries(weights).filter(([kind]) => fits(kind as FaultKind, request));
  if (fitting.length === 0) return undefined;
  return random.weighted(Object.fromEntries(fitting) as Weights);
}

/** Bytes of a body after which it may break. */
const LONGEST_START = 300_000;

export function faultOf(
  kind: FaultKind,
  random: Random,
  elsewhere: (request: IncomingMessage) => string,
): Fault {
  const bytes = random.integer(0, random.chance(0.3) ? 2_000 : LONGEST_START);
  switch (kind) {
    case 'reset':
      return (_request, response) => reset(response);
    case 'stall':
      return hang;
    case '429':
      return answer(429, { 'retry-after': random.pick(['0', '1']) }, 'too many');
    case '500':
    case '502':
    case '503':
      return answer(Number(kind), {}, 'broken');
    case 'redirect':
      return (request, response, forward) =>
        answer(307, { location: elsewhere(request) })(request, response, forward);
    case 'cut':
      return cutAfter(bytes);
    case 'stalled-body':
      return stallAfter(bytes);
    case 'truncated':
      return shorten(bytes);
    case 'shifted-range':
      return shiftRange;
    case 'other-range':
      return withRange((first, last) => `bytes=${first + 1}-${last + 1}`);
    case 'no-range':
      return withRange(() => undefined);
    case 'lost-answer':
      return (_request, response, forward) =>
        forward({
          headers: (headers) => {
            reset(response);
            return headers;
          },
        });
    case 'cut-upload':
      return (_request, response, forward) =>
        forward({
          upload: async function* (body) {
            let left = bytes;
            for await (const chunk of body) {
              left -= chunk.length;
              if (left < 0) break;
              yield chunk;
            }
            reset(response);
            throw new Error('cut');
          },
        });
    case 'wrong-bytes':
      return flipBit(random);
  }
}

function reset(response: ServerResponse): void {
  response.socket?.resetAndDestroy();
}

/** The end of the body is missing, and its length says so: a client that asked for a range, or knows a size, can tell. */
function shorten(bytes: number): Fault {
  return (_request, _response, forward) => {
    let left = Number.POSITIVE_INFINITY;
    forward({
      headers: (headers) => {
        const length = Number(headers['content-length'] ?? 0);
        if (length <= 1) return headers;
        left = Math.min(bytes, length - 1);
        return { ...headers, 'content-length': String(left) };
      },
      download: async function* (body) {
        for await (const chunk of body) {
          if (left > 0) yield chunk.subarray(0, left);
          left -= chunk.length;
        }
      },
    });
  };
}

/** Another range than was asked for reaches the service, which says in its answer what it sends. */
function withRange(change: (first: number, last: number) => string | undefined): Fault {
  return (request, _response, forward) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const range = first === undefined || last === undefined ? undefined : change(Number(first), Number(last));
    if (range === undefined) delete request.headers.range;
    else request.headers.range = range;
    forward();
  };
}

/** Shortest body that is an image's. */
const IMAGE_BODY = 16_384;

function flipBit(random: Random): Fault {
  return (_request, _response, forward) => {
    let at = -1;
    forward({
      headers: (headers) => {
        const length = Number(headers['content-length'] ?? 0);
        if (length >= IMAGE_BODY) at = random.integer(0, length);
        return headers;
      },
      download: async function* (body) {
        for await (const chunk of body) {
          if (at >= 0 && at < chunk.length) {
            chunk.writeUInt8(chunk.readUInt8(at) ^ (1 << random.integer(0, 8)), at);
            at = -1;
          } else {
            at -= chunk.length;
          }
          yield chunk;
        }
      },
    });
  };
}
