/** The two shapes of uploads, on services that count in memory and fail as they are told. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { beforeEach, describe, expect, test } from 'vitest';
import { type OrderedUpload, SessionLost, uploadInOrder } from '../../../src/backends/kit/ordered-upload.ts';
import { type ParallelUpload, uploadInParallel } from '../../../src/backends/kit/parallel-upload.ts';
import { SregistryError } from '../../../src/base/errors.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';
import { sha256 } from './memory-store.ts';

const BYTES = randomBytes(10_000);
const CHUNK = 3000;
let path: string;
beforeEach(() => {
  path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, BYTES);
});

const unreachable = () => new SregistryError('UNREACHABLE', 'no connection');

function savedState() {
  let saved: Record<string, unknown> = {};
  return {
    load: () => saved,
    save: (state: Record<string, unknown>) => {
      saved = structuredClone(state);
    },
  };
}

describe('chunks in order', () => {
  /** A service that counts. `fault` is asked before each chunk: how many of its bytes arrive, or an error in place of the answer. */
  function counting(
    fault: (call: number) => { keep?: number; error?: unknown } | undefined = () => undefined,
  ) {
    const sessions = new Map<string, Buffer>();
    const log: string[] = [];
    let sent = 0;
    let started = 0;
    const received = (session: string) => {
      const have = sessions.get(session);
      if (have === undefined)
        throw new SessionLost('upload', new SregistryError('NOT_FOUND', 'no such session'));
      return { session, offset: have.length };
    };
    const upload: OrderedUpload<string, string> = {
      what: 'upload',
      file: { path, size: BYTES.length },
      identity: { key: 'a' },
      chunk: CHUNK,
      parse: (saved) => (typeof saved === 'string' ? saved : undefined),
      start: async () => {
        started += 1;
        const session = `s${started}`;
        log.push(`start ${session}`);
        sessions.set(session, Buffer.alloc(0));
        return { session, offset: 0 };
      },
      ask: async (session) => {
        log.push(`ask ${session}`);
        return received(session);
      },
      send: async (session, { start, end, body }) => {
        log.push(`send ${start}-${end}`);
        const { keep = end - start, error } = fault(++sent) ?? {};
        expect(received(session).offset).toBe(start);
        const arrived = (await buffer(body())).subarray(0, keep);
        sessions.set(session, Buffer.concat([sessions.get(session) ?? Buffer.alloc(0), arrived]));
        if (error !== undefined) throw error;
        return received(session);
      },
      finish: async (session) => {
        log.push('finish');
        return String(
          createHash('sha256')
            .update(sessions.get(session) ?? '')
            .digest('hex'),
        );
      },
    };
    return { upload, sessions, log };
  }
  const whole = sha256(BYTES).slice(7);

  test('send each byte once, and end with what the service says of the whole', async () => {
    const { upload, log } = counting();
    const seen: number[] = [];
    const resume = savedState();
    expect(await uploadInOrder(upload, { resume, progress: (done) => seen.push(done) })).toBe(whole);
    expect(log).toEqual([
      'start s1',
      'send 0-3000',
      'send 3000-6000',
      'send 6000-9000',
      'send 9000-10000',
      'finish',
    ]);
    expect(seen.at(-1)).toBe(BYTES.length);
    expect(resume.load()).toEqual({});
  });

  test("go on from the service's own count after a failure, and never count back", async () => {
    const { upload, log } = counting((call) =>
      call === 2 ? { keep: 1000, error: unreachable() } : undefined,
    );
    const seen: number[] = [];
    expect(await uploadInOrder(upload, { progress: (done) => seen.push(done) })).toBe(whole);
    expect(log.slice(2, 5)).toEqual(['send 3000-6000', 'ask s1', 'send 4000-7000']);
    expect(seen).toEqual([...seen].sort((one, other) => one - other));
  });

  test('are not sent again where only the answer was lost', async () => {
    const { upload, log } = counting((call) => (call === 4 ? { error: unreachable() } : undefined));
    expect(await uploadInOrder(upload)).toBe(whole);
    expect(log.slice(4)).toEqual(['send 9000-10000', 'ask s1', 'finish']);
  });

  test('begin anew in a new session when the service has given up the old one', async () => {
    const { upload, sessions, log } = counting((call) => {
      if (call === 2) sessions.delete('s1');
      return undefined;
    });
    expect(await uploadInOrder(upload)).toBe(whole);
    expect(log.filter((entry) => entry.startsWith('start'))).toEqual(['start s1', 'start s2']);
  });

  test('that a service takes without growing are an error in the end', async () => {
    const { upload } = counting(() => ({ keep: 0 }));
    await expect(uploadInOrder(upload)).rejects.toMatchObject({
      code: 'SERVICE',
      message: expect.stringContaining('makes no progress'),
    });
  }, 20_000);

  test('that are refused for good are that error, at once', async () => {
    const { upload, log } = counting(() => ({ error: new SregistryError('FORBIDDEN', 'no') }));
    await expect(uploadInOrder(upload)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(log).toEqual(['start s1', 'send 0-3000']);
  });

  test('of an interrupted push are taken up by the next, for the same file and place only', async () => {
    const resume = savedState();
    const { upload, log } = counting((call) =>
      call === 2 ? { error: new SregistryError('CANCELED', 'stop') } : undefined,
    );
    await expect(uploadInOrder(upload, { resume })).rejects.toMatchObject({ code: 'CANCELED' });
    log.length = 0;
    const other = { ...upload, identity: { key: 'b' } };
    const saved = resume.load();
    expect(await uploadInOrder(other, { resume })).toBe(whole);
    expect(log[0]).toBe('start s2');
    log.length = 0;
    resume.save(saved);
    expect(await uploadInOrder(upload, { resume })).toBe(whole);
    expect(log.slice(0, 2)).toEqual(['ask s1', 'send 6000-9000']);
  });

  test('go on where a service lost bytes that it had counted', async () => {
    const { upload, sessions, log } = counting();
    const { send } = upload;
    upload.send = async (session, chunk) => {
      if (chunk.start !== 9000) return send(session, chunk);
      sessions.set('s1', BYTES.subarray(0, 2000));
      upload.send = send;
      throw unreachable();
    };
    expect(await uploadInOrder(upload)).toBe(whole);
    expect(log.filter((entry) => entry.startsWith('send')).slice(3)).toEqual([
      'send 2000-5000',
      'send 5000-8000',
      'send 8000-10000',
    ]);
  });

  test('are an error in the end where a service loses them again and again', async () => {
    const { upload, sessions, log } = counting();
    const { send } = upload;
    upload.send = async (session, chunk) => {
      if (chunk.start < 3000) return send(session, chunk);
      log.push('lost');
      sessions.set(session, Buffer.alloc(0));
      return { session, offset: 0 };
    };
    await expect(uploadInOrder(upload)).rejects.toMatchObject({
      code: 'SERVICE',
      message: expect.stringContaining('makes no progress'),
    });
    expect(log.filter((entry) => entry === 'lost').length).toBeLessThan(10);
  }, 60_000);

  test.each([3001, 10_000, 10_001, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'are an error at once where a service says that it has %d bytes of 3000',
    async (offset) => {
      const resume = savedState();
      const { upload, log } = counting();
      const { send } = upload;
      upload.send = async (session, chunk) => {
        await send(session, chunk);
        return { session, offset };
      };
      await expect(uploadInOrder(upload, { resume })).rejects.toMatchObject({ code: 'SERVICE' });
      expect(log).toEqual(['start s1', 'send 0-3000']);
      expect(resume.load()).toEqual({});
      await expect(
        uploadInOrder({ ...upload, start: async () => ({ session: 's1', offset: 3000 }) }),
      ).rejects.toMatchObject({ code: 'SERVICE' });
    },
  );

  test.each([
    ['counts bytes that were not sent', async () => ({ session: 's0', offset: 5000 })],
    ['refuses it', async () => Promise.reject(new SregistryError('FORBIDDEN', 'expired'))],
    ['asks for another login', async () => Promise.reject(new SregistryError('UNAUTHORIZED', 'expired'))],
    ['has moved', async () => Promise.reject(unreachable())],
  ])(
    'begin anew where the server of an earlier session %s',
    async (_what, ask) => {
      const resume = savedState();
      resume.save({ key: 'a', session: 's0', sent: 3000 });
      const { upload, log } = counting();
      expect(await uploadInOrder({ ...upload, ask }, { resume })).toBe(whole);
      expect(log[0]).toBe('start s1');
    },
    30_000,
  );

  test('are taken up again after an outage, though the service could not be asked at first', async () => {
    const resume = savedState();
    const { upload, sessions, log } = counting();
    sessions.set('s0', BYTES.subarray(0, 3000));
    resume.save({ key: 'a', session: 's0', sent: 3000 });
    let failures = 2;
    const ask: typeof upload.ask = (session) =>
      failures-- > 0 ? Promise.reject(unreachable()) : upload.ask(session);
    expect(await uploadInOrder({ ...upload, ask }, { resume })).toBe(whole);
    expect(log.slice(0, 2)).toEqual(['ask s0', 'send 3000-6000']);
  }, 30_000);

  test('are taken up by the push after an outage that outlasts a push', async () => {
    const resume = savedState();
    const { upload, sessions, log } = counting();
    sessions.set('s0', BYTES.subarray(0, 3000));
    resume.save({ key: 'a', session: 's0', sent: 3000 });
    const away = async () => Promise.reject(unreachable());
    const failed = uploadInOrder({ ...upload, ask: away, start: away }, { resume });
    await expect(failed).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(await uploadInOrder(upload, { resume })).toBe(whole);
    expect(log.slice(0, 2)).toEqual(['ask s0', 'send 3000-6000']);
  }, 30_000);

  test.each([
    ['nothing', { key: 'a' }],
    ['no count', { key: 'a', session: 's0' }],
    ['a count of another file', { key: 'a', session: 's0', sent: 20_000 }],
    ['a count that is none', { key: 'a', session: 's0', sent: '3000' }],
    ['a session that is none', { key: 'a', session: [1], sent: 3000 }],
    ['a list', [] as unknown as Record<string, unknown>],
  ])('begin anew where the saved state has %s', async (_what, state) => {
    const resume = savedState();
    resume.save(state);
    const { upload, log } = counting();
    expect(await uploadInOrder(upload, { resume })).toBe(whole);
    expect(log[0]).toBe('start s1');
  });

  test('are not taken up again when the whole that they made was wrong', async () => {
    const resume = savedState();
    const { upload, log } = counting();
    const finish = async () => Promise.reject(new SregistryError('CORRUPT', 'other bytes'));
    await expect(uploadInOrder({ ...upload, finish }, { resume })).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(resume.load()).toEqual({});
    log.length = 0;
    expect(await uploadInOrder(upload, { resume })).toBe(whole);
    expect(log[0]).toBe('start s2');
  });

  test('are none where the service has the file already', async () => {
    const { upload, log } = counting();
    expect(await uploadInOrder({ ...upload, start: async () => ({ done: 'there' }) })).toBe('there');
    expect(log).toEqual([]);
  });
});

describe('parts in parallel', () => {
  const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex');

  function service(fault: (number: number) => unknown = () => undefined) {
    const parts = new Map<number, Buffer>();
    const log: string[] = [];
    let isKnown = false;
    const upload: ParallelUpload<Buffer> = {
      what: 'upload',
      file: { path, size: BYTES.length, digest: sha256(BYTES) },
      identity: { key: 'a' },
      partSize: CHUNK,
      start: async () => {
        log.push('start');
        isKnown = true;
        return 'id';
      },
      list: async () =>
        isKnown
          ? new Map([...parts].map(([number, bytes]) => [number, { etag: md5(bytes), size: bytes.length }]))
          : undefined,
      isSame: async (etag, { start, end }) => etag === md5(BYTES.subarray(start, end)),
      send: async (_id, { number }, body) => {
        log.push(`send ${number}`);
        const bytes = await buffer(body());
        const error = fault(number);
        if (error !== undefined) throw error;
        parts.set(number, bytes);
        return md5(bytes);
      },
      complete: async (_id, stored) => Buffer.concat(stored.map(({ number }) => parts.get(number) as Buffer)),
      abort: async () => {
        log.push('abort');
        isKnown = false;
      },
    };
    return { upload, parts, log };
  }

  test('are put together in order, and their progress only grows', async () => {
    const { upload } = service();
    const seen: number[] = [];
    expect(await uploadInParallel(upload, { progress: (done) => seen.push(done) })).toEqual(BYTES);
    expect(seen).toEqual([...seen].sort((one, other) => one - other));
    expect(seen.at(-1)).toBe(BYTES.length);
  });

  test('that the service has are not sent again by the next push; wrong ones are', async () => {
    const resume = savedState();
    const { upload, parts, log } = service((number) => (number === 4 ? unreachable() : undefined));
    await expect(uploadInParallel(upload, { resume })).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(log).not.toContain('abort');
    const again = service();
    for (const [number, bytes] of parts) again.parts.set(number, bytes);
    again.parts.set(2, randomBytes(CHUNK));
    again.parts.set(4, BYTES.subarray(9000));
    await again.upload.start();
    again.log.length = 0;
    expect(await uploadInParallel(again.upload, { resume })).toEqual(BYTES);
    expect(again.log).toEqual(['send 2']);
    expect(resume.load()).toEqual({});
  });

  test('of a push that cannot go on are given up; the first failure is the error', async () => {
    const resume = savedState();
    const { upload, log } = service((number) =>
      number === 2 ? new SregistryError('FORBIDDEN', 'no') : undefined,
    );
    await expect(uploadInParallel(upload, { resume })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(log).toContain('abort');
    expect(resume.load()).toEqual({});
  });

  test('that no file of this size has are not taken for its own', async () => {
    const resume = savedState();
    resume.save({
      key: 'a',
      digest: sha256(BYTES.subarray(0, 6000)),
      partSize: CHUNK,
      upload: 'id',
      etags: {},
    });
    const { upload, parts } = service();
    writeFileSync(path, BYTES.subarray(0, 6000));
    const file = { path, size: 6000, digest: sha256(BYTES.subarray(0, 6000)) };
    await upload.start();
    for (const number of [-1, 0, 0.5, 3, 10_001]) parts.set(number, Buffer.alloc(0));
    let completed: readonly { number: number }[] = [];
    const complete: typeof upload.complete = (id, stored) => {
      completed = stored;
      return upload.complete(id, stored);
    };
    expect(await uploadInParallel({ ...upload, file, complete }, { resume })).toEqual(
      BYTES.subarray(0, 6000),
    );
    expect(completed.map(({ number }) => number)).toEqual([1, 2]);
  });

  test('of an upload whose parts may not be listed are sent in a new one', async () => {
    const resume = savedState();
    resume.save({ key: 'a', digest: sha256(BYTES), partSize: CHUNK, upload: 'old', etags: {} });
    const { upload, log } = service();
    const list = async () => Promise.reject(new SregistryError('FORBIDDEN', 'no'));
    expect(await uploadInParallel({ ...upload, list }, { resume })).toEqual(BYTES);
    expect(log[0]).toBe('start');
  });

  test('of an earlier push are not sent again because of an outage', async () => {
    const resume = savedState();
    resume.save({ key: 'a', digest: sha256(BYTES), partSize: CHUNK, upload: 'id', etags: {} });
    const { upload, parts, log } = service();
    await upload.start();
    log.length = 0;
    for (const number of [1, 2, 3]) parts.set(number, BYTES.subarray((number - 1) * CHUNK, number * CHUNK));
    let failures = 2;
    const list: typeof upload.list = (id, saved) =>
      failures-- > 0
        ? Promise.reject(new SregistryError('SERVICE', 'try later', { status: 503 }))
        : upload.list(id, saved);
    expect(await uploadInParallel({ ...upload, list }, { resume })).toEqual(BYTES);
    expect(log).toEqual(['send 4']);
  }, 30_000);

  test('of an upload that the service no longer knows are sent in a new one', async () => {
    const resume = savedState();
    resume.save({ key: 'a', digest: sha256(BYTES), partSize: CHUNK, upload: 'gone', etags: {} });
    const { upload, log } = service();
    expect(await uploadInParallel(upload, { resume })).toEqual(BYTES);
    expect(log[0]).toBe('start');
  });
});
