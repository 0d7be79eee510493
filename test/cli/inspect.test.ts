/** inspect and verify: of files, of the library, and of a directory as a registry. */
import { readFileSync } from 'node:fs';
import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from './home.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures/images');
const fixture = (name: string) => join(FIXTURES, name);
const recorded = (name: string) => JSON.parse(readFileSync(fixture(name), 'utf8'));
const KEYS = fixture('signer.asc');
const FINGERPRINT = 'B30D7E2239EAF6CCEB44DD9C68C7E7AA16BC2552';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

describe('Inspect', () => {
  const flags: Record<string, string> = recorded('small-gzip.inspect-flags.json');

  test.each([
    '--labels',
    '--runscript --helpfile --labels',
    '--app foo',
    '--list-apps',
    '--app bar --helpfile',
  ])('prints what apptainer inspect %s prints.', async (line) => {
    expect(await home.ok('inspect', fixture('small-gzip.sif'), ...line.split(' '))).toBe(flags[line]);
  });

  test('prints the parts that are asked for as JSON of the same shape.', async () => {
    const args = ['--app', 'bar', '--runscript', '--environment'];
    expect(await home.json('inspect', fixture('small-gzip.sif'), ...args)).toEqual(
      JSON.parse(flags[`--json ${args.join(' ')}`] as string),
    );
    const all = await home.ok('inspect', fixture('small-gzip.sif'), '--all');
    expect(JSON.parse(all)).toEqual(recorded('small-gzip.inspect.json'));
  });

  test('tells the same of an image in the library, with its row, also when its file is gone.', async () => {
    await home.ok('add', home.image('small-zstd.sif'), '--name', 'demo/hello:1.0');
    const facts = { collection: 'demo', name: 'hello', client: 'local' };
    const expected = { ...facts, ...recorded('small-zstd.inspect.json') };
    expect(await home.json('inspect', 'demo/hello:1.0')).toMatchObject(expected);
    await rm((await home.ok('get', 'demo/hello:1.0')).trim());
    expect(await home.json('inspect', 'demo/hello:1.0')).toMatchObject(expected);
    const { code, stderr } = await home.sregistry('inspect', 'demo/hello:1.0', '--files');
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('Pull it again') });
  });

  test('lists the files in an image, for people and for programs.', async () => {
    const listed = await home.ok('inspect', fixture('small-gzip.sif'), '--files', '/etc');
    expect(listed).toMatch(/^d 0755 +0 \S+ \S+ \/etc\n- 0644 +10 \S+ \S+ \/etc\/group\n/);
    const files = await home.json('inspect', '--files', fixture('old-gzip.simg'), '/.singularity.d/env');
    expect(files).toContainEqual({
      path: '/.singularity.d/env/90-environment.sh',
      type: 'file',
      mode: expect.stringMatching(/^07/),
      size: expect.any(Number),
      modified: expect.any(String),
    });
    const { code, stderr } = await home.sregistry(
      'inspect',
      fixture('small-gzip.sif'),
      '--files',
      '/nothing',
    );
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('There is no /nothing') });
  });

  test('lists who signed an image, unchecked.', async () => {
    expect(await home.ok('inspect', fixture('small-signed.sif'), '--signatures')).toContain(
      `group 1\t${FINGERPRINT}\t`,
    );
    expect(await home.json('inspect', fixture('small-gzip.sif'), '--signatures')).toEqual([]);
  });

  test('says of what cannot be read inside why, and fails where a part of that is asked for.', async () => {
    await truncate(home.path(home.image('small-gzip.sif', 'half.sif')), 1_000_000);
    expect(await home.json('inspect', 'half.sif')).toMatchObject({
      kind: 'sif',
      whole: false,
      data: { attributes: {} },
      unknown: { reason: expect.stringContaining('1000000 of 2441216 bytes are there') },
    });
    const { code, stdout, stderr } = await home.sregistry('inspect', 'half.sif', '--labels');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('Cannot read the labels of half.sif');
  });

  test.each([
    [['x.sif', '/etc']],
    [['x.sif', '--files', '--labels']],
    [['x.sif', '--signatures', '--list-apps']],
  ])('refuses %j, which makes no sense.', async (args) => {
    expect((await home.sregistry('inspect', ...args)).code).toBe(2);
  });
});

describe('Verify', () => {
  const verify = (image: string, ...args: string[]) =>
    home.sregistry('verify', image, '--keyring', KEYS, ...args);

  test('ends with 0 for an image that is as it was signed by a key of the ring.', async () => {
    const { code, stdout } = await verify(fixture('small-signed.sif'), '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      verified: true,
      reason: 'Every object is signed by a known key',
      signatures: [
        {
          id: 4,
          signs: { to: 'group', id: 1 },
          fingerprint: FINGERPRINT,
          created: '2026-11-22T13:17:09.000Z',
          state: 'valid',
          signer: ['lab (lab) <lab@example.org>'],
          reason: 'Group 1 is as it was signed',
        },
      ],
    });
  });

  test('ends with 1 for one that was altered, or is not signed, and says so.', async () => {
    const bytes = readFileSync(fixture('small-signed.sif'));
    bytes.writeUInt8(bytes.readUInt8(2_000_000) ^ 1, 2_000_000);
    await writeFile(home.path('altered.sif'), bytes);
    expect(await verify('altered.sif')).toEqual({
      code: 1,
      stdout: expect.stringMatching(/^invalid\tgroup 1\t.*data of object 3 was altered$/m),
      stderr: expect.stringContaining('is not verified: The data of object 3 was altered'),
    });
    expect(await verify(fixture('small-gzip.sif'))).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('It is not signed'),
    });
  });

  test('needs a file of keys.', async () => {
    const { code, stderr } = await home.sregistry('verify', fixture('small-signed.sif'), '--keyring', 'none');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('Cannot read the key ring'),
    });
  });
});
