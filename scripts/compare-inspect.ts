/**
 * Compares what this project tells of images with what Apptainer told of them, field by field: for every image in a folder
 * that has the output of `apptainer inspect --json --all` beside it as `<image>.inspect.json`. Each is read as one
 * far away would be, where requests and bytes count; what only Singularity can open, by it, where it is installed. Prints a
 * line an image, and exits 1 where a field differs.
 *
 *     node scripts/compare-inspect.ts FOLDER
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ATTRIBUTE_NAMES } from '../src/image/attributes.ts';
import { type Inspection, inspect, unreadable } from '../src/image/inspect.ts';
import { inspectFile } from '../src/image/metadata.ts';
import { openFileSource } from '../src/image/source.ts';

const SUFFIX = '.inspect.json';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: compare-inspect.ts FOLDER');

const lines = await Promise.all(globSync(`*${SUFFIX}`, { cwd: folder }).sort().map(compare));
for (const { line } of lines) console.log(line);
if (lines.length === 0 || lines.some(({ isSame }) => !isSame)) process.exitCode = 1;

async function compare(recording: string): Promise<{ line: string; isSame: boolean }> {
  const [image] = globSync(`${basename(recording, SUFFIX)}.{sif,simg,img,sqsh}`, { cwd: folder });
  if (image === undefined) return { line: `${recording}: there is no image beside it`, isSame: false };
  const path = join(folder as string, image);
  const recorded = JSON.parse(readFileSync(join(folder as string, recording), 'utf8')) as Inspection;
  const { requests, bytes, inspection } = await inspectFromAfar(path);
  const told = inspection.unknown === undefined ? inspection : await inspectFile(path);
  const known = ATTRIBUTE_NAMES.filter((name) => !told.unknown?.attributes.includes(name));
  const differing = known.filter(
    (name) => !isDeepStrictEqual(told.data.attributes[name], recorded.data.attributes[name]),
  );
  const outcome = differing.length === 0 ? 'equal' : `of which differ: ${differing.join(', ')}`;
  const why = told.unknown === undefined ? '' : `, the others are not known (${told.unknown.reason})`;
  const line = `${image}: ${known.length} fields ${outcome}${why}; ${requests} requests, ${bytes} bytes`;
  return { line, isSame: differing.length === 0 };
}

async function inspectFromAfar(path: string) {
  await using source = await openFileSource(path);
  const count = { requests: 0, bytes: 0 };
  const read = async (offset: number, length: number) => {
    const part = await source.read(offset, length);
    count.requests += 1;
    count.bytes += part.length;
    return part;
  };
  const inspection = await inspect({ size: source.size, read }).catch(unreadable);
  return { ...count, inspection };
}
