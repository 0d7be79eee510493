/**
 * The sidecars of an image: `<file>.sha256` with its digest, as sha256sum(1) writes it, and `<file>.json` with its annotations. A
 * sidecar that is older than the image describes an earlier image and is ignored.
 */
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describeError, systemCode } from '../../base/errors.ts';
import { temporaryName } from '../../base/files.ts';
import { debugLog } from '../../log/index.ts';
import { CHECKSUM_SUFFIX, formatChecksum, parseChecksum } from '../kit/checksum-file.ts';
import type { Confinement, Found } from './confine.ts';

const debug = debugLog('dir');

const ANNOTATIONS_SUFFIX = '.json';
const SUFFIXES = [CHECKSUM_SUFFIX, ANNOTATIONS_SUFFIX];

/** Largest sidecar in bytes. A larger file was not written by sregistry. */
const LIMIT = 1024 * 1024;

export interface SidecarFacts {
  /** `sha256:<hex>` */
  readonly digest: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** Reads the sidecars of an image. `isThere` returns false for a path that is known to be missing. */
export async function readSidecars(
  confinement: Confinement,
  image: Found,
  isThere: (path: string) => boolean = () => true,
): Promise<SidecarFacts> {
  const read = async (suffix: string) => {
    const path = image.path + suffix;
    return isThere(path) ? readSidecar(confinement, path, image.stats.mtimeNs) : undefined;
  };
  const [sum, annotations] = await Promise.all([read(CHECKSUM_SUFFIX), read(ANNOTATIONS_SUFFIX)]);
  return {
    digest: sum === undefined ? undefined : parseChecksum(sum),
    annotations: annotations === undefined ? undefined : parseAnnotations(annotations),
  };
}

/** Reads one sidecar. An unreadable sidecar counts as missing, so that the image stays usable. */
async function readSidecar(confinement: Confinement, path: string, notBefore: bigint) {
  try {
    const file = await confinement.open(path);
    try {
      const stats = await file.stat({ bigint: true });
      if (!stats.isFile() || stats.size > LIMIT || stats.mtimeNs < notBefore) return undefined;
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') debug('cannot read %s: %s', path, describeError(error));
    return undefined;
  }
}

function parseAnnotations(text: string): Record<string, string> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
    const entries = Object.entries(parsed);
    return Object.fromEntries(
      entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  } catch {
    return undefined;
  }
}

/** Sidecars under hidden names, until their image is in place. */
export class StagedSidecars {
  readonly #image: string;
  readonly #staged = new Map<string, string>();

  /** `image` is the final path of the image. */
  constructor(image: string) {
    this.#image = image;
  }

  /** Writes the sidecars. Call it after the image's bytes are written, so that no sidecar is older than the image. */
  async write({ digest, annotations }: SidecarFacts): Promise<void> {
    if (digest !== undefined) {
      await this.#write(CHECKSUM_SUFFIX, formatChecksum(digest, basename(this.#image)));
    }
    if (Object.keys(annotations ?? {}).length > 0) {
      await this.#write(ANNOTATIONS_SUFFIX, `${JSON.stringify(annotations, null, 2)}\n`);
    }
  }

  /** Moves the sidecars into place, and removes those of the replaced image. */
  async publish(): Promise<void> {
    for (const suffix of SUFFIXES) {
      const staged = this.#staged.get(suffix);
      if (staged === undefined) await rm(this.#image + suffix, { force: true });
      else await rename(staged, this.#image + suffix);
    }
  }

  /** Removes the sidecars that were not published. */
  async discard(): Promise<void> {
    for (const path of this.#staged.values()) await rm(path, { force: true });
  }

  async #write(suffix: string, text: string): Promise<void> {
    const path = join(dirname(this.#image), temporaryName());
    this.#staged.set(suffix, path);
    await writeFile(path, text, { flag: 'wx' });
  }
}

export async function removeSidecars(image: string): Promise<void> {
  for (const suffix of SUFFIXES) await rm(image + suffix, { force: true });
}
