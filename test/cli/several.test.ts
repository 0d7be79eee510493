/** Several images in one command, and names that one command prints and another takes. */
import { existsSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry } from '../servers/docker-registry.ts';
import { Home } from './home.ts';

needs({ registry: true })('With a registry', () => {
  async function lab() {
    const registry = await startRegistry();
    onTestFinished(() => registry.remove());
    const home = new Home();
    onTestFinished(() => home[Symbol.dispose]());
    await home.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`);
    const image = home.image();
    await home.ok('push', image, '--name', 'lab://demo/hello:1.0');
    return { home, image };
  }

  describe('pull of several images', () => {
    test('goes on after a failure, sums up, and ends with 1', async () => {
      const { home } = await lab();
      const names = ['lab://demo/none:1', 'lab://demo/hello:1.0'];
      const { code, stdout, stderr } = await home.sregistry('pull', '--no-cache', ...names);
      expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringMatching(/hello.*\.sif\n$/) });
      expect(existsSync(stdout.trim())).toBe(true);
      expect(stderr).toContain('ERROR lab://demo/none:1 does not exist');
      expect(stderr).toContain('1 of 2 images were not pulled: lab://demo/none:1');

      const json = await home.sregistry('pull', '--json', ...names);
      expect(json.code).toBe(1);
      expect(JSON.parse(json.stdout)).toMatchObject([
        { uri: names[0], error: expect.stringContaining('does not exist') },
        { uri: names[1], path: expect.any(String) },
      ]);
    });
  });

  test('cache commands that only look, and others that bring nothing, evict nothing', async () => {
    const { home } = await lab();
    await home.ok('pull', 'lab://demo/hello:1.0', '--no-cache');
    home.env.SREGISTRY_CACHE_SIZE = '1K';
    await home.ok('cache', 'du');
    await home.ok('cache', 'verify');
    await home.ok('search', 'hello');
    expect(await home.json('cache', 'ls')).toMatchObject([{ complete: true }]);
  });

  test('a name that a command prints is one that the others take', async () => {
    const { home, image } = await lab();
    const [pushed = ''] = (await home.ok('push', image, '--name', 'lab://demo/hello:2.0')).split(' ');
    const [{ uri: pulled }] = await home.json('pull', pushed);
    const [{ uri: cached }] = await home.json('cache', 'ls');
    const [{ uri: found }] = await home.json('search', 'hello', '--backend', 'lab');
    const [{ uri: stored }] = await home.json('images');
    const listed = (await home.ok('images')).trim().split('\t').at(-1) ?? '';
    for (const uri of [pushed, pulled, cached, found]) {
      expect(uri).toMatch(/^lab:\/\/demo\/hello:/);
      await home.ok('inspect', uri);
      await home.ok('cache', 'pin', uri);
    }
    for (const name of [stored, listed]) {
      await home.ok('inspect', name);
      await home.ok('get', name);
    }
  });
});
