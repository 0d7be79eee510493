/** The kernel's pages of an image, on a real mount: kept across opens, and never those of another content. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { Bytes } from '../torture/content.ts';
import { ociService } from '../torture/services.ts';
import { eventually, World } from './support.ts';

const SIZE = 4 * 1024 * 1024;
const IMAGE = '$MNT/lab/demo/tool:1.sif';

let world: World;
let registry: TestRegistry;
const bytes = new Bytes('pages');

/** Images of one size. The service tells no date of them, so they have one date, too. */
const content = (id: number) => Buffer.concat([...bytes.pieces({ id, size: SIZE })]);
const publish = (id: number) => ociService(registry.url, 'lab').put('tool', content(id));

/** Kilobytes of the image that the kernel has in memory. fincore opens it for that. */
async function resident(): Promise<number> {
  return Number(await world.ok(`fincore --bytes --noheadings --output RES ${IMAGE}`)) / 1024;
}

async function read(): Promise<Buffer> {
  await world.ok(`cat ${IMAGE} > read`);
  return readFileSync(`${world.home}/read`);
}

/** A server between mount and registry that changes the first byte of an image while `isWrong()`. */
async function startLiar(isWrong: () => boolean) {
  const { hostname, port } = new URL(registry.url);
  const server = createServer((incoming, answer) => {
    const { method, url, headers } = incoming;
    const onward = request({ hostname, port, method, path: url, headers }, (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      const lies =
        isWrong() && url?.includes('/blobs/') && /^bytes 0-/.test(response.headers['content-range'] ?? '');
      let isFirst = true;
      response.on('data', (chunk: Buffer) => {
        if (isFirst && lies) chunk[0] = (chunk[0] as number) ^ 1;
        isFirst = false;
        answer.write(chunk);
      });
      response.on('end', () => answer.end());
    });
    incoming.pipe(onward);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

needs({ fuse: true, registry: true })("the kernel's pages of an image", () => {
  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
  });
  afterEach(async () => {
    await world.end();
    await registry.remove();
  });

  test('Pages of one revision stay in memory across opens.', async () => {
    await publish(1);
    await world.mount('--ext', 'sif');
    expect((await read()).equals(content(1))).toBe(true);
    const pages = await resident();
    expect(pages).toBeGreaterThan(SIZE / 1024 / 2);
    expect((await read()).equals(content(1))).toBe(true);
    expect(await resident()).toBeGreaterThanOrEqual(pages);
  });

  test('Two revisions of equal size and date are told apart.', async () => {
    await publish(1);
    await world.mount('--ext', 'sif', '--ttl', '0s');
    for (const id of [2, 1, 2, 3, 1, 3]) {
      const before = await read();
      await publish(id);
      expect((await read()).equals(before)).toBe(before.equals(content(id)));
      expect((await read()).equals(content(id))).toBe(true);
    }
    const second = async () => Number(await world.ok(`stat -c %Y ${IMAGE}`));
    const time = await second();
    await publish(4);
    expect(await second()).toBe(time);
  });

  test('An image that is open stays one revision while its tag is moved to one of equal size and date.', async () => {
    await publish(1);
    await world.mount('--ext', 'sif', '--ttl', '0s');
    await world.ok(`head -c 100 ${IMAGE} > /dev/null`);
    const reader = world.start(
      `exec 3< ${IMAGE}; touch opened; until [ -e go ]; do sleep 0.01; done; cat <&3 > old`,
    );
    const ended = once(reader, 'exit');
    await eventually(() => world.ok('test -e opened'));
    await publish(2);
    expect((await read()).equals(content(1))).toBe(true);
    await world.ok('touch go');
    await ended;
    expect(readFileSync(`${world.home}/old`).equals(content(1))).toBe(true);
    await eventually(async () => expect((await read()).equals(content(2))).toBe(true));
  });

  test('Bytes of a refused write are not shown as those of the image, whatever their size.', async () => {
    await publish(1);
    await world.mount('--ext', 'sif');
    for (const size of [SIZE, SIZE - 1, SIZE + 4096]) {
      expect((await read()).equals(content(1))).toBe(true);
      expect(
        (await world.shell(`head -c ${size} /dev/urandom | dd of=${IMAGE} bs=64k status=none`)).code,
      ).not.toBe(0);
      expect((await read()).equals(content(1))).toBe(true);
    }
  });

  test('A pushed image of the same size replaces the pages, under every spelling of its name.', async () => {
    await publish(1);
    await world.mount('--ext', 'sif');
    for (const id of [5, 6]) {
      await read();
      await world.ok('cat $MNT/lab/demo/tool:1.simg > /dev/null');
      bytes.write({ id, size: SIZE }, `${world.home}/new.sif`);
      await world.ok(`cp new.sif ${IMAGE}`);
      expect((await read()).equals(content(id))).toBe(true);
      await world.ok(`cmp new.sif $MNT/lab/demo/tool:1.simg`);
    }
  });

  test('Pages of bytes that turn out to be wrong go with them.', async () => {
    let isWrong = true;
    await using liar = await startLiar(() => isWrong);
    await publish(1);
    await world.ok(world.sregistry('backend', 'add', 'liar', '--driver', 'oci', `base=${liar.url}`));
    await world.mount('--ext', 'sif');
    const image = '$MNT/liar/demo/tool:1.sif';
    // Nobody can tell before the rest is there.
    await world.ok(`head -c 1 ${image} > first`);
    expect(readFileSync(`${world.home}/first`)[0]).toBe((content(1)[0] as number) ^ 1);
    isWrong = false;
    expect((await world.shell(`cat ${image} > whole`)).code).not.toBe(0);
    await world.ok(`cat ${image} > whole`);
    expect(readFileSync(`${world.home}/whole`).equals(content(1))).toBe(true);
  });
});
