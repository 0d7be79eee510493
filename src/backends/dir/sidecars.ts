/**
 * What is known of an image beside its bytes: `<file>.sha256` as sha256sum(1) writes it, `<file>.json` with its
 * annotations. A sidecar that is older than the image is about another one and is ignored.
 */
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describeError, systemCode } from '../../base/errors.ts';
import { temporaryName } from '../../base/files.ts';
import { debugLog } from '../../log/index.ts';
import type { Confinement, Found } from './confine.ts';

const debug = debugLog('dir');

const DIGEST_SUFFIX = '.sha256';
const ANNOTATIONS_SUFFIX = '.json';
const SUFFIXES = [DIGEST_SUFFIX, ANNOTATIONS_SUFFIX];

/** Bytes a sidecar may have; larger ones are somebody's, not ours. */
const LIMIT = 1024 * 1024;

export interface SidecarFacts {
  /** `sha256:<hex>` */
  readonly digest: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** Reads what there is. `isThere` says of a path whether trying is worth it. */
export async function readSidecars(
  confinement: Confinement,
  image: Found,
  isThere: (path: string) => boolean = () => true,
): Promise<SidecarFacts> {
  const read = async (suffix: string) => {
    const path = image.path + suffix;
    return isThere(path) ? readSidecar(confinement, path, image.stats.mtimeNs) : undefined;
  };
  const [sum, annotations] = await Promise.all([read(DIGEST_SUFFIX), read(ANNOTATIONS_SUFFIX)]);
  return {
    digest: sum === undefined ? undefined : parseSum(sum),
    annotations: annotations === undefined ? undefined : parseAnnotations(annotations),
  };
}

/** A sidecar never stands between a person and the image: one that cannot be read is not there. */
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
    if (systemCode(error) !== 'ENOENT') debug('%s is not read: %s', path, describeError(error));
    return undefined;
  }
}

function parseSum(text: string): string | undefined {
  // A line begins with a backslash where the file's name needed escapes.
  const hex = /^\\?([0-9a-f]{64})(?:\s|$)/i.exec(text)?.[1];
  return hex === undefined ? undefined : `sha256:${hex.toLowerCase()}`;
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

/** Sidecars written under hidden names, waiting for their image to be in its place. */
export class StagedSidecars {
  readonly #image: string;
  readonly #staged = new Map<string, string>();

  /** `image` is the path the image will have. */
  constructor(image: string) {
    this.#image = image;
  }

  /** Writes what is known; call it when the image's bytes are written, so that none is older than they are. */
  async write({ digest, annotations }: SidecarFacts): Promise<void> {
    if (digest !== undefined) {
      await this.#write(DIGEST_SUFFIX, `${digest.replace(/^sha256:/, '')}  ${basename(this.#image)}\n`);
    }
    if (Object.keys(annotations ?? {}).length > 0) {
      await this.#write(ANNOTATIONS_SUFFIX, `${JSON.stringify(annotations, null, 2)}\n`);
    }
  }

  /** Gives them their names; those of the image that was there before go. */
  async publish(): Promise<void> {
    for (const suffix of SUFFIXES) {
      const staged = this.#staged.get(suffix);
      if (staged === undefined) await rm(this.#image + suffix, { force: true });
      else await rename(staged, this.#image + suffix);
    }
  }

  /** Removes those that were not published. */
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
