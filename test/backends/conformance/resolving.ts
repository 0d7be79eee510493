/** Present, absent, forbidden and unreachable, told apart. */
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { answer } from '../../servers/fault-proxy.ts';
import { type Bench, content, sha256 } from './bench.ts';

export function resolving(at: () => Bench, http: boolean): void {
  test('an image that is there, with its size, revision and, where the service states one, digest', async () => {
    const name = at().name();
    const bytes = content();
    const { image } = await at().image(name, bytes);
    expect(image.name).toMatchObject({ collection: name.collection, image: name.image, tag: name.tag });
    expect(image.size).toBe(bytes.length);
    expect(image.revision).not.toBe('');
    expect([undefined, sha256(bytes)]).toContain(image.digest);
    expect(image.unpresentable).toBeUndefined();
  });

  test('the same image twice as the same revision', async () => {
    const { image } = await at().image();
    expect(await at().resolve(image.name)).toEqual(image);
  });

  test('an image to something that survives as JSON', async () => {
    const { image, bytes } = await at().image();
    const revived = { ...image, handle: JSON.parse(JSON.stringify(image.handle)) };
    expect(await at().read(revived)).toEqual(bytes);
  });

  test.each([
    ['another tag', 'hello:2.0'],
    ['another image', 'goodbye:1.0'],
    ['a longer name', 'hello-world:1.0'],
    ['a deeper collection', 'below/hello:1.0'],
  ])('%s of an image that is there to nothing', async (_what, reference) => {
    const { collection } = at().name();
    await at().image(at().name('hello:1.0', collection));
    expect(await at().backend.resolve(at().name(reference, collection))).toBeUndefined();
  });

  test('a collection that is not there to nothing', async () => {
    expect(await at().backend.resolve(at().name())).toBeUndefined();
  });

  test('a name that leads out of the service to nothing, or to an error', async () => {
    const name = { collection: '../..', image: 'hello', tag: '1.0' };
    const resolved = await at()
      .backend.resolve(name)
      .catch(() => undefined);
    expect(resolved).toBeUndefined();
  });

  if (!http) return;

  test('an image that may not be seen to the error FORBIDDEN or UNAUTHORIZED', async () => {
    const { image } = await at().image();
    at().proxy.inject(answer(403), { times: 100 });
    await expect(at().backend.resolve(image.name)).rejects.toMatchObject({
      code: expect.stringMatching(/^(FORBIDDEN|UNAUTHORIZED)$/),
    });
  });

  test('an image of a service that fails to the error SERVICE', async () => {
    const { image } = await at().image();
    at().proxy.inject(answer(500), { times: 100 });
    await expect(at().backend.resolve(image.name)).rejects.toMatchObject({ code: 'SERVICE' });
  });

  test('an image of something that is not the service to an error', async () => {
    const { image } = await at().image();
    const page = '<!doctype html><title>Log in</title>';
    const headers = { 'content-type': 'text/html', 'content-length': String(page.length) };
    at().proxy.inject(answer(200, headers, page), { times: 100 });
    await expect(at().backend.resolve(image.name)).rejects.toMatchObject({ name: 'SregistryError' });
  });

  test('an image of a service that is down to the error UNREACHABLE', async () => {
    const backend = await at().connect({ SREGISTRY_TIMEOUT: '10' }, await deadOrigin());
    await expect(backend.resolve(at().name())).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
}

/** An address at which nothing listens. */
async function deadOrigin(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? `http://127.0.0.1:${address.port}` : '';
}
