/** `--arch` of the commands that choose one image, against a real registry that has one for several architectures. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { layerOf, pushIndex, pushLayered, tarOf } from '../servers/layered.ts';
import { Home } from './home.ts';

const layer = (text: string) => layerOf(tarOf([{ path: 'app', data: text }]));

needs({ registry: true })('--arch', () => {
  let registry: TestRegistry;
  beforeAll(async () => {
    registry = await startRegistry();
    const image = (arch: string) =>
      pushLayered(registry.url, 'demo/app', arch, [layer(`for ${arch}`)], { Labels: { is: arch } }, arch);
    const images = { amd64: await image('amd64'), arm64: await image('arm64') };
    await pushIndex(registry.url, 'demo/app', '1', images);
  });
  afterAll(() => registry.remove());

  const home = () => {
    const made = new Home({ SREGISTRY_DOCKERHUB_BASE: registry.url });
    onTestFinished(() => made[Symbol.dispose]());
    return made;
  };
  const IMAGE = 'docker://demo/app:1';

  test('chooses the image that inspect tells of, in Go’s words and in those of uname', async () => {
    const at = home();
    for (const [written, arch] of [
      ['amd64', 'amd64'],
      ['aarch64', 'arm64'],
      ['x86_64', 'amd64'],
      ['arm64', 'arm64'],
    ] as const) {
      const { data } = await at.json('inspect', IMAGE, '--arch', written);
      expect(data.attributes.labels).toMatchObject({ is: arch, 'org.label-schema.build-arch': arch });
    }
  });

  test('chooses what pull writes, and what get finds of several in the library', async () => {
    const at = home();
    await at.ok('pull', IMAGE, '--arch', 'arm64', '--name', 'arm.sif');
    // The two digits after the version in a SIF's header.
    expect(readFileSync(at.path('arm.sif')).toString('latin1', 45, 47)).toBe('04');
    const amd64 = (await at.ok('pull', IMAGE, '--arch', 'amd64')).trim();
    const arm64 = (await at.ok('get', 'demo/app:1', '--arch', 'aarch64')).trim();
    expect((await at.ok('get', 'demo/app:1', '--arch', 'x86_64')).trim()).toBe(amd64);
    expect((await at.ok('get', 'demo/app:1')).trim()).toBe(amd64);
    expect(readFileSync(arm64).equals(readFileSync(at.path('arm.sif')))).toBe(true);
    const { code, stderr } = await at.sregistry('get', 'demo/app:1', '--arch', 's390x');
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining('demo/app:1 is not in the library for s390x'),
    ]);
    expect(stderr).toContain('sregistry pull --arch s390x');
  });

  test('for a platform that the image lacks fails, and names those that it has', async () => {
    const { code, stderr } = await home().sregistry('pull', IMAGE, '--arch', 's390x');
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(
        'an image for linux/amd64, linux/arm64, not for linux/s390x; choose one with --arch',
      ),
    ]);
  });

  test('that names no architecture is an error of the command line', async () => {
    const { code, stderr } = await home().sregistry('inspect', IMAGE, '--arch', 'amd46');
    expect([code, stderr]).toEqual([2, expect.stringContaining('Did you mean amd64?')]);
  });
});
