/** Images too large to be committed, built by genuine Apptainer when a test first asks for them. */
import { createCipheriv } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import lockfile from 'proper-lockfile';
import { apptainer, TEST_STATE } from './apptainer.ts';

const BASE = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');
const MIB = 1024 * 1024;

/**
 * The path of a SIF a little larger than `mebibytes`: the small fixture with that much incompressible data in
 * /opt/noise.bin. Built once and kept under the test state; read it, do not change it. Needs Apptainer; takes about
 * three seconds per 100 MiB.
 */
export async function largeImage(mebibytes: number): Promise<string> {
  const folder = resolve(TEST_STATE, 'images');
  const path = join(folder, `large-${mebibytes}.sif`);
  await mkdir(folder, { recursive: true });
  // Test files run side by side: the second waits for the first one's image.
  const release = await lockfile.lock(path, {
    realpath: false,
    retries: { retries: 600, factor: 1, minTimeout: 500, maxTimeout: 500 },
  });
  try {
    if (!existsSync(path)) await build(path, mebibytes);
    return path;
  } finally {
    await release();
  }
}

async function build(path: string, mebibytes: number): Promise<void> {
  const work = await mkdtemp(`${path}.`);
  try {
    const noise = join(work, 'noise.bin');
    const definition = join(work, 'large.def');
    const image = join(work, 'large.sif');
    await pipeline(incompressible(mebibytes), createWriteStream(noise));
    await writeFile(
      definition,
      ['Bootstrap: localimage', `From: ${BASE}`, '', '%files', `    ${noise} /opt/noise.bin`, ''].join('\n'),
    );
    const built = await apptainer(['build', image, definition], {
      env: { APPTAINER_TMPDIR: work },
      timeout: 600_000,
    });
    if (built.code !== 0) throw new Error(`apptainer build failed: ${built.stderr}`);
    await rename(image, path);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The same bytes at every call: the key stream of AES with a key of zeros. */
function* incompressible(mebibytes: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const zeros = Buffer.alloc(MIB);
  for (let i = 0; i < mebibytes; i++) yield cipher.update(zeros);
}
