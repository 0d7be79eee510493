/** What a server of Swift may answer, and what its headers may hold. */
import type { ServerResponse } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import swift from '../../src/backends/swift/index.ts';
import { fromHeaders, toHeaders } from '../../src/backends/swift/metadata.ts';
import { startFaultServer } from '../servers/http-faults.ts';
import { swiftOptions } from '../servers/swift.ts';

async function connect(answer: (url: URL, response: ServerResponse) => void) {
  const server = await startFaultServer(({ url }, response) =>
    answer(new URL(url ?? '', 'http://x'), response),
  );
  const options = swiftOptions({
    authtype: 'preauth',
    authToken: 'a-token',
    url: `${server.url}/v1/AUTH_lab`,
  });
  const backend = swift.create({ name: 'swift', options, env: {} });
  onTestFinished(async () => {
    await backend.close?.();
    await server.close();
  });
  return backend;
}

test.each([
  ['an entry that is no object', [null]],
  ['a text', 'x'],
  ['an object', {}],
])('A listing with %s is malformed.', async (_what, page) => {
  const backend = await connect((_url, response) => response.end(JSON.stringify(page)));
  await expect(Array.fromAsync(backend.list('lab'))).rejects.toMatchObject({ code: 'SERVICE' });
});

test.each([-1, 1.5, 1e300, '10', null])('A listing does not tell the size %j.', async (bytes) => {
  const entry = { name: 'hello:1.0.sif', bytes, hash: 'a'.repeat(32), last_modified: 'never' };
  const backend = await connect((url, response) =>
    response.end(JSON.stringify(url.searchParams.has('marker') ? [] : [entry])),
  );
  const [image] = await Array.fromAsync(backend.list('lab'));
  expect(image).toMatchObject({ kind: 'image', name: { image: 'hello' } });
  expect(image).not.toHaveProperty('remote');
});

test('Annotations that are stored in pieces keep their spaces, which headers lose at their ends.', () => {
  // Every place of the edges of pieces.
  for (let length = 200; length < 800; length++) {
    const annotations = {
      text: `${' x'.repeat(length / 2)}${'  '.repeat(20)}.`,
      other: 'y'.repeat(length % 7),
    };
    const headers = toHeaders({ annotations: JSON.stringify(annotations) });
    const sent = Object.entries(headers).map(([name, value]) => [name, value.trim()]);
    expect(JSON.parse(fromHeaders(Object.fromEntries(sent)).annotations ?? '')).toEqual(annotations);
  }
});
