/** `sregistry cache` with an image in layers. */
import { expect, onTestFinished, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry } from '../servers/docker-registry.ts';
import { layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import { Home } from './home.ts';

needs({ registry: true })('sregistry cache', () => {
  test('names the images of a layer, keeps the layers of a pinned image, and says what it removes', async () => {
    const registry = await startRegistry();
    onTestFinished(() => registry.remove());
    using home = new Home({ SREGISTRY_DOCKERHUB_BASE: registry.url });
    const layer = layerOf(tarOf([{ path: 'app', data: 'app' }]));
    for (const tag of ['1', '2', '3', '4', '5'])
      await pushLayered(registry.url, 'demo/app', tag, [layer], { Labels: { tag } });
    for (const tag of ['1', '2', '3', '4', '5'])
      await home.ok('pull', `docker://demo/app:${tag}`, '--name', `${tag}.sif`, '--no-cache');

    const short = `layer/${layer.diffId.slice(0, 19)}`;
    expect(await home.ok('cache', 'ls')).toMatch(
      new RegExp(`${short} of docker://demo/app:5, docker://demo/app:4, docker://demo/app:3 and 2 more`),
    );
    expect(await home.ok('cache', 'du')).toContain('0 images, 1 layer of images\n');
    const { stderr } = await home.sregistry('cache', 'pin', 'docker://demo/app:2');
    expect(stderr).toContain('[pin] docker://demo/app:2');
    expect(await home.ok('cache', 'ls')).toContain(
      `pinned\t${short} of docker://demo/app:2, docker://demo/app:5`,
    );
    expect(await home.ok('cache', 'prune')).toContain('Removed 0 images, 0');
    expect(await home.ok('cache', 'verify')).toContain(`right        ${short} of docker://demo/app:2`);
    await home.ok('cache', 'unpin', 'docker://demo/app:2');
    expect(await home.ok('cache', 'prune')).toContain('Removed 0 images, 1 layer of images, ');
    expect(await home.json('cache', 'ls')).toEqual([]);
  });
});
