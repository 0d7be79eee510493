/** Several images in one command, and names that one command prints and another takes. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
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

  test('completion in bash goes by collections to the images that were seen, and asks no service', async () => {
    const { home } = await lab();
    await home.ok('search', 'hello', '--backend', 'lab');
    await home.ok('backend', 'add', 'off', '--driver', 'oci', 'base=http://localhost:1');
    const complete = async (line: string) => {
      const script = `
        sregistry() { "${process.execPath}" "${join(import.meta.dirname, 'sregistry.ts')}" "$@"; }
        source <(sregistry completion bash)
        COMP_LINE=$1 COMP_POINT=\${#1}
        _sregistry
        printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = await promisify(execFile)('bash', ['-c', script, 'bash', line], {
        env: home.env,
      });
      expect(stderr).toBe('');
      return stdout.trim().split('\n');
    };
    expect(await complete('sregistry pull la')).toEqual(['lab://']);
    // Behind the colon, as bash replaces only that.
    expect(await complete('sregistry pull lab://d')).toEqual(['//demo/']);
    expect(await complete('sregistry cache pin lab://demo/')).toEqual(['//demo/hello:1.0']);
    expect(await complete('sregistry pull off://')).toEqual(['']);
    expect(await complete('sregistry completion f')).toEqual(['fish']);
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
