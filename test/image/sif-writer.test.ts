/** SIF files that we write, read by us and by Apptainer. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isError } from '../../src/base/errors.ts';
import { inspect } from '../../src/image/inspect.ts';
import { primaryPartition, readSif, readSifData } from '../../src/image/sif.ts';
import { type SifObject, type SifOptions, writeSif } from '../../src/image/sif-writer.ts';
import { bytesSource } from '../../src/image/source.ts';
import { bytesPiece } from '../../src/image/squashfs/nodes.ts';
import { packSquashFs } from '../../src/image/squashfs/pack.ts';
import { needs } from '../helpers/skip.ts';
import { apptainer } from '../servers/apptainer.ts';

const ID = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const CREATED = 1_700_000_000;
const OPTIONS: SifOptions = { id: ID, created: CREATED, architecture: 'amd64' };
const DEFINITION = 'bootstrap: docker\nfrom: demo:1\n\n';
const LABELS = { maintainer: 'me' };
const OBJECTS: readonly SifObject[] = [
  { type: 'deffile', bytes: Buffer.from(DEFINITION) },
  {
    type: 'json',
    name: 'inspect-metadata.json',
    bytes: Buffer.from(JSON.stringify({ data: { attributes: { labels: LABELS } }, type: 'container' })),
  },
];

async function write(objects = OBJECTS, options = OPTIONS): Promise<{ bytes: Buffer; writes: number[] }> {
  let bytes = Buffer.alloc(0);
  const writes: number[] = [];
  const writeAt = async (part: Uint8Array, at: number) => {
    writes.push(at);
    const whole = Buffer.alloc(Math.max(bytes.length, at + part.length));
    bytes.copy(whole);
    whole.set(part, at);
    bytes = whole;
  };
  const attributes = { mode: 0o755, uid: 0, gid: 0, modified: CREATED };
  const file = { type: 'file', ...attributes, pieces: [bytesPiece(Buffer.from('hello\n'))] } as const;
  const root = { type: 'directory', ...attributes, entries: new Map([['hello', { node: file }]]) } as const;
  const pack = (into: typeof writeAt) =>
    packSquashFs(root, [], into, { compressor: 'gzip', modified: CREATED });
  const size = await writeSif(writeAt, objects, pack, options);
  expect(bytes.length).toBe(size);
  return { bytes, writes };
}

it('is read back with its objects, as Apptainer lays them out', async () => {
  const { bytes } = await write();
  const source = bytesSource(bytes);
  const sif = await readSif(source);
  if (sif === undefined) throw new Error('there is no SIF');
  expect(sif.header).toMatchObject({
    launch: '#!/usr/bin/env run-singularity\n',
    architecture: 'amd64',
    id: '00112233-4455-6677-8899-aabbccddeeff',
    created: new Date(CREATED * 1000),
    descriptors: { total: 48, offset: 4096 },
  });
  expect(sif.descriptors.map(({ id, group, type, name, link }) => [id, group, type, name, link])).toEqual([
    [1, 1, 'deffile', '', undefined],
    [2, 1, 'json', 'inspect-metadata.json', undefined],
    [3, 1, 'partition', '', undefined],
  ]);
  expect(sif.length).toBe(bytes.length);
  const [definition] = sif.descriptors;
  expect(Buffer.from(await readSifData(source, definition as never, 1000)).toString()).toBe(DEFINITION);
  const partition = primaryPartition(sif);
  expect(partition?.partition).toEqual({ fileSystem: 'squashfs', type: 'primary', architecture: 'amd64' });
  expect((partition?.offset ?? 1) % 4096).toBe(0);
  expect((await inspect(source)).data.attributes).toMatchObject({
    labels: LABELS,
    deffile: expect.any(String),
  });
});

it('has the same bytes each time, and other ones with another id, time or architecture', async () => {
  const { bytes } = await write();
  expect((await write()).bytes.equals(bytes)).toBe(true);
  for (const other of [{ id: Buffer.alloc(16) }, { created: CREATED + 1 }, { architecture: 'arm64' }])
    expect((await write(OBJECTS, { ...OPTIONS, ...other })).bytes.equals(bytes)).toBe(false);
});

it('is no image before its last write, that of the header', async () => {
  const { bytes, writes } = await write();
  expect(writes.at(-1)).toBe(0);
  expect(writes.slice(0, -1).every((at) => at >= 4096)).toBe(true);
  const unfinished = bytesSource(Buffer.concat([Buffer.alloc(128), bytes.subarray(128)]));
  await expect(readSif(unfinished)).rejects.toMatchObject({ code: 'NOT_AN_IMAGE' });
});

it('is not written for an architecture that SIF does not know', async () => {
  const error = await write(OBJECTS, { ...OPTIONS, architecture: 'loong64' }).catch((cause) => cause);
  expect(isError(error, 'NOT_PRESENTABLE')).toBe(true);
  expect(error.message).toContain('loong64');
});

needs({ apptainer: true, root: true })('beside Apptainer', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sregistry-sif-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is listed, dumped, inspected, signed and verified', async () => {
    const path = join(folder, 'image.sif');
    writeFileSync(path, (await write()).bytes, { mode: 0o755 });
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await apptainer(args, {
        env: { APPTAINER_KEYSDIR: join(folder, 'keys'), APPTAINER_CONFIGDIR: join(folder, 'config') },
      });
      expect(code, stderr).toBe(0);
      return stdout;
    };
    expect(await run('sif', 'header', path)).toMatch(/Descriptors Free: +45\b/);
    const rows = (await run('sif', 'list', path)).match(/^\d.*$/gm);
    expect(rows?.map((row) => row.split('|').map((cell) => cell.trim())[4])).toEqual([
      'Def.FILE',
      'JSON.Generic',
      'FS (Squashfs/*System/amd64)',
    ]);
    expect(await run('sif', 'dump', '1', path)).toBe(DEFINITION);
    expect(await run('inspect', '--labels', path)).toBe('maintainer: me\n');
    const key = ['--name', 'a', '--email', 'a@example.org', '--comment', 'a', '--password', ''];
    await run('key', 'newpair', ...key, '--push=false', '--bit-length', '2048');
    await run('sign', path);
    await run('verify', path);
  });
});
