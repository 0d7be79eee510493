/** Credentials: renewed once, and nowhere but at the service. */
import { beforeAll, expect, test } from 'vitest';
import type { RemoteImage } from '../../../src/backends/backend.ts';
import { answer, startElsewhere } from '../../servers/fault-proxy.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, expectSame } from './bench.ts';

/** All that another origin needs of a request: what is about the content, and what the transport adds. */
const HARMLESS = [
  /^(host|connection|user-agent|content-length)$/,
  /^accept(-|$)/,
  /^(range|if-match|if-range|if-none-match|if-(un)?modified-since)$/,
];

export function credentials(at: () => Bench, lacks: Lacks): void {
  let image: RemoteImage;
  let bytes: Buffer;
  beforeAll(async () => {
    ({ image, bytes } = await at().image(at().name(), content(300_000)));
  });

  const refuse = (times: number) => at().proxy.inject(answer(401, { ...at().subject.challenge }), { times });

  if (lacks.renewal === undefined) {
    test('a 401 leads to new credentials, and the request is repeated with them', async () => {
      refuse(1);
      const resolved = await at().resolve(image.name, await at().connect());
      expect(resolved.revision).toBe(image.revision);
      refuse(1);
      expectSame(await at().read(image, 10, 1000, await at().connect()), bytes.subarray(10, 1010));
    });

    test('a 401 again is the error UNAUTHORIZED, after few requests', async () => {
      const backend = await at().connect();
      const before = at().requests;
      refuse(100);
      await expect(backend.resolve(image.name)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
      expect(at().requests - before).toBeLessThanOrEqual(4);
    });
  } else {
    test(`a 401 is the error UNAUTHORIZED at once: ${lacks.renewal}`, async () => {
      const before = at().requests;
      refuse(100);
      await expect(at().backend.resolve(image.name)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
      const sent = at()
        .proxy.requests.slice(before)
        .map(({ method, url }) => `${method} ${url}`);
      expect(sent).toEqual([...new Set(sent)]);
    });
  }

  test('an error says nothing of the credentials', async () => {
    const backend = await at().connect();
    const before = at().requests;
    at().proxy.inject(answer(403), { times: 100 });
    const error: Error = await backend.resolve(image.name).then(
      () => new Error('no error'),
      (reason) => reason,
    );
    const sent = at()
      .proxy.requests.slice(before)
      .flatMap(({ headers }) => headers.authorization ?? []);
    for (const secret of sent) expect(JSON.stringify(error) + error.stack).not.toContain(secret);
    expect(error).toMatchObject({ name: 'SregistryError' });
  });

  test(
    lacks.redirect === undefined
      ? 'a redirect to another origin is followed without credentials'
      : `a redirect to another origin is refused: ${lacks.redirect}`,
    async () => {
      await using elsewhere = await startElsewhere();
      at().proxy.inject(elsewhere.redirect, { match: ({ method }) => method === 'GET' });
      const read = at().read(image, 1000, 100_000);
      if (lacks.redirect === undefined) expectSame(await read, bytes.subarray(1000, 101_000));
      else await expect(read).rejects.toMatchObject({ name: 'SregistryError' });

      expect(elsewhere.requests).toHaveLength(lacks.redirect === undefined ? 1 : 0);
      for (const { headers } of elsewhere.requests) {
        const names = Object.keys(headers);
        expect(names.filter((name) => !HARMLESS.some((pattern) => pattern.test(name)))).toEqual([]);
      }
    },
  );
}
