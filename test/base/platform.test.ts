import { arch } from 'node:process';
import { describe, expect, test } from 'vitest';
import {
  fitOf,
  formatArchitecture,
  formatPlatform,
  hostPlatform,
  parsePlatform,
  platformFor,
} from '../../src/base/platform.ts';

describe('An architecture', () => {
  // The first column is what containerd's Parse takes, the second what its Format gives, without the default variant of arm64.
  test.each([
    ['amd64', 'amd64'],
    ['x86_64', 'amd64'],
    ['x86-64', 'amd64'],
    ['AMD64', 'amd64'],
    ['amd64/v1', 'amd64'],
    ['amd64/v3', 'amd64/v3'],
    ['x86_64/v2', 'amd64/v2'],
    ['i386', '386'],
    ['aarch64', 'arm64'],
    ['arm64/v8', 'arm64'],
    ['arm64/8', 'arm64'],
    ['arm64/v8.2', 'arm64/v8.2'],
    ['arm', 'arm/v7'],
    ['arm/7', 'arm/v7'],
    ['arm/v6', 'arm/v6'],
    ['armhf', 'arm/v7'],
    ['armel', 'arm/v6'],
    ['armv7l', 'arm/v7'],
    ['linux/arm64', 'arm64'],
    ['ppc64el', 'ppc64le'],
    ['s390x', 's390x'],
  ])('%s is %s.', (written, name) => {
    expect(formatArchitecture(parsePlatform(written))).toBe(name);
    expect(formatPlatform(parsePlatform(written))).toBe(`linux/${name}`);
  });

  test.each([
    ['amd46', 'Did you mean amd64?'],
    ['windows/amd64', expect.stringContaining('It is one of 386, amd64, arm')],
    ['', expect.stringContaining('It is one of 386')],
    ['arm/v7/x', expect.stringContaining('such as arm/v7')],
    ['arm/../v7', expect.stringContaining('such as arm/v7')],
  ])('"%s" is none.', (written, hint) => {
    expect(() => parsePlatform(written)).toThrow(
      expect.objectContaining({ code: 'USAGE', message: `"${written}" is not an architecture`, hint }),
    );
  });

  test('is that of the machine if none is given.', () => {
    expect(platformFor(undefined)).toEqual(hostPlatform());
    expect(platformFor('arm')).toEqual({ os: 'linux', architecture: 'arm', variant: 'v7' });
    if (arch === 'x64') expect(hostPlatform()).toEqual({ os: 'linux', architecture: 'amd64' });
  });
});

describe('A machine runs', () => {
  /** The images that fit, best first. */
  const fitting = (machine: string, images: readonly string[]) =>
    images
      .map((image) => {
        const [os = '', architecture = '', variant] = image.split('/');
        return { image, fit: fitOf(parsePlatform(machine), { os, architecture, variant }) };
      })
      .filter(({ fit }) => fit !== undefined)
      .sort((a, b) => (a.fit as number) - (b.fit as number))
      .map(({ image }) => image);

  // As the cases of containerd's TestOnly, within one architecture.
  test.each([
    ['amd64', ['linux/amd64', 'linux/amd64/v1'], ['linux/amd64/v2', 'linux/386', 'windows/amd64']],
    ['amd64/v3', ['linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64'], ['linux/amd64/v4']],
    ['arm/v5', ['linux/arm/v5'], ['linux/arm/v6', 'linux/arm']],
    ['arm/v6', ['linux/arm/v6', 'linux/arm/v5'], ['linux/arm/v7', 'linux/arm/v8']],
    ['arm', ['linux/arm', 'linux/arm/v6', 'linux/arm/v5'], ['linux/arm/v8', 'linux/arm64']],
    ['arm/v8', ['linux/arm/v8', 'linux/arm/v7', 'linux/arm/v6'], ['linux/arm64']],
    ['arm64', ['linux/arm64', 'linux/arm64/v8', 'linux/aarch64'], ['linux/arm64/v8.1', 'linux/arm64/v9']],
    ['arm64/v8.2', ['linux/arm64/v8.2', 'linux/arm64/v8.1', 'linux/arm64'], ['linux/arm64/v8.3']],
    [
      'arm64/v9.1',
      ['linux/arm64/v9.1', 'linux/arm64/v9', 'linux/arm64/v8.6', 'linux/arm64/v8.1', 'linux/arm64/v8'],
      ['linux/arm64/v9.2', 'linux/arm64/v8.7'],
    ],
    ['s390x', ['linux/s390x'], ['linux/s390', 'unknown/unknown', 'linux/s390x/z16']],
  ])('with %s the images for %j, and not those for %j.', (machine, images, others) => {
    expect(fitting(machine, [...others, ...images.toReversed()]).toSorted()).toEqual(images.toSorted());
    const distinct = images.filter((image) => !['linux/amd64/v1', 'linux/aarch64'].includes(image));
    const order = fitting(machine, distinct.toReversed());
    if (machine !== 'arm64') expect(order).toEqual(distinct);
  });
});
