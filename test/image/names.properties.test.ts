/** What holds for every name, not only for those that somebody thought of. fast-check prints what to repeat a failure with. */
import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import {
  formatFileName,
  formatImageName,
  getUri,
  type ParsedName,
  type ParseNameOptions,
  parseFileName,
  parseImageName,
  removeUri,
} from '../../src/image/names.ts';

/** Pieces that mean something in names, and pieces that should not. */
const PIECES = [
  ...['a', 'B', '.', ':', '@', '/', '-', '_', ' ', '..', './', '//', '://', '\n', '\0', 'é', '😀', '\ud800'],
  ...['.sif', '.simg', '.img', 'sha256:0f', 'localhost', 'quay.io', ':5000', 'latest', '__proto__'],
];
const nameLike = fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }).map((pieces) => pieces.join(''));
const text = fc.oneof(nameLike, fc.string({ unit: 'binary' }), fc.string());

const options: fc.Arbitrary<ParseNameOptions> = fc.record(
  {
    tag: text,
    version: text,
    base: text,
    defaultCollection: text,
    defaultTag: text,
    defaults: fc.boolean(),
    lowercase: fc.boolean(),
    first: fc.constantFrom('registry', 'host'),
  },
  { requiredKeys: [] },
);
/** Those that say how to read a text, and put nothing into it. */
const readings = fc.record(
  { lowercase: fc.boolean(), first: fc.constantFrom('registry', 'host') },
  { requiredKeys: [] },
);

/** Undefined where it is no name; any other error is thrown. */
function tryParse(name: string, given: ParseNameOptions): ParsedName | undefined {
  try {
    return parseImageName(name, given);
  } catch (error) {
    if (error instanceof SregistryError && error.code === 'INVALID_NAME') return undefined;
    throw error;
  }
}

const component = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_-]{0,8}$/);
const dotted = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,8}$/);
const version = fc.oneof(
  fc.stringMatching(/^sha256:[0-9a-f]{64}$/),
  fc.stringMatching(/^[a-z0-9][a-z0-9._@:-]{0,8}$/),
);
const names = fc.record({
  registry: fc.option(
    fc.constantFrom('quay.io', 'localhost', 'localhost:5000', '127.0.0.1:5000', '[::1]:80'),
    {
      nil: undefined,
    },
  ),
  collection: fc.array(component, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
  image: dotted,
  tag: dotted,
  version: fc.option(version, { nil: undefined }),
});

describe('Any text', () => {
  test('is a name or INVALID_NAME, whatever the options are.', () => {
    fc.assert(
      fc.property(text, options, (name, given) => {
        tryParse(name, given);
      }),
      { numRuns: 5000 },
    );
  });

  test('that is a name stays in the folder that it is stored in.', () => {
    const inside = (path: string) => posix.join('/store', path).startsWith('/store/');
    fc.assert(
      fc.property(text, options, (name, given) => {
        const parsed = tryParse(name, given);
        return (
          parsed === undefined ||
          (inside(parsed.storage) && inside(parsed.url) && !parsed.storage.includes('\0'))
        );
      }),
      { numRuns: 5000 },
    );
  });

  test('that is a name is the same name when it is written out and read again.', () => {
    let count = 0;
    fc.assert(
      fc.property(text, readings, (name, given) => {
        const parsed = tryParse(name, given);
        if (parsed === undefined) return;
        count++;
        const again = parseImageName(formatImageName(parsed), given);
        expect({ ...again, original: name }).toEqual(parsed);
      }),
      { numRuns: 5000 },
    );
    expect(count).toBeGreaterThan(500);
  });

  test('loses its scheme once and for all, and has one only if it is known.', () => {
    fc.assert(
      fc.property(text, (name) => {
        const rest = removeUri(name);
        expect(removeUri(rest)).toBe(rest);
        expect(getUri(name) ?? '').not.toContain('/');
      }),
    );
  });

  test('is a file name or none, and one that is written out is read again.', () => {
    fc.assert(
      fc.property(text, (name) => {
        const parts = parseFileName(name);
        if (parts === undefined) return;
        expect(parseFileName(formatFileName(parts, parts.extension))).toEqual({ ...parts, tagged: true });
      }),
    );
  });
});

test('A name that is written out is read as the same name: parse(format(x)) = x.', () => {
  fc.assert(
    fc.property(names, (name) => {
      const { registry, collection, image, tag, version } = parseImageName(formatImageName(name), {
        lowercase: false,
        first: 'host',
      });
      expect({ registry, collection, image, tag, version }).toEqual(name);
    }),
    { numRuns: 3000 },
  );
});

test('Text is read in linear time.', () => {
  const secondsFor = (length: number) => {
    const started = process.cpuUsage().user;
    for (const piece of [...PIECES, 'a/', 'a.', 'a:b@', '.sif.sif'])
      for (const given of [{ base: 'b' }, { first: 'host' } as const])
        try {
          parseImageName(piece.repeat(length), given);
        } catch {}
    return (process.cpuUsage().user - started) / 1e6;
  };
  secondsFor(1000);
  // Quadratic reading of megabytes would take minutes; the bound only tells the two apart.
  expect(secondsFor(300_000)).toBeLessThan(20);
});
