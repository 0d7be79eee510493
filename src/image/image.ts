/** An image opened for reading: its kind, its SIF objects, and its root file system. */
import { SregistryError } from '../base/errors.ts';
import { bufferedSource } from './buffered.ts';
import { type ImageKind, identify, launchLength, MAX_LAUNCH } from './format.ts';
import { primaryPartition, readSif, type Sif, type SifPartition } from './sif.ts';
import { type ByteSource, sliceSource } from './source.ts';
import { type FileEntry, SquashFs } from './squashfs/filesystem.ts';

export interface Image {
  readonly kind: ImageKind;
  /** Header and descriptors, of a SIF. */
  readonly sif: Sif | undefined;
  /** The bytes of the image, with a cache. */
  readonly source: ByteSource;
}

/** Why a root file system cannot be read here, as the end of "it is ...". */
export interface Unreadable {
  readonly unreadable: string;
}

/** @throws {SregistryError} NOT_AN_IMAGE if it is not an image, CORRUPT if it is not whole. */
export async function openImage(source: ByteSource): Promise<Image> {
  const buffered = bufferedSource(source);
  const { kind, state, reason } = await identify(buffered);
  if (kind === undefined)
    throw new SregistryError('NOT_AN_IMAGE', reason, {
      hint: 'An image is a SIF, a SquashFS or a Singularity 2 file',
    });
  if (state !== 'whole')
    throw new SregistryError('CORRUPT', reason, { hint: 'The file is truncated or still being written' });
  return { kind, source: buffered, sif: kind === 'sif' ? await readSif(buffered) : undefined };
}

/** The container's root file system, or why it cannot be read without Singularity. */
export async function openRoot({ kind, sif, source }: Image): Promise<SquashFs | Unreadable> {
  if (kind === 'ext3' || kind === 'singularity2-ext3') return { unreadable: 'an ext file system' };
  if (sif === undefined) {
    const launch = launchLength(await source.read(0, MAX_LAUNCH));
    return SquashFs.open(sliceSource(source, launch, source.size - launch));
  }
  const root = primaryPartition(sif);
  if (root?.partition?.fileSystem === 'squashfs')
    return SquashFs.open(sliceSource(source, root.offset, root.size));
  if (root?.partition !== undefined) return { unreadable: describeFileSystem(root.partition) };
  const isOci = sif.descriptors.some(({ type }) => type === 'oci-root-index');
  return { unreadable: isOci ? 'an OCI-SIF, which is made of layers' : 'a SIF without a root file system' };
}

/**
 * The files inside an image at and below `path`, parents first, without mounting it.
 *
 * @throws {SregistryError} NOT_FOUND if `path` does not exist, UNSUPPORTED if only Singularity can look inside, and the errors of
 * {@link openImage}.
 */
export async function* files(source: ByteSource, path = '/'): AsyncGenerator<FileEntry> {
  const root = await openRoot(await openImage(source));
  if (!(root instanceof SquashFs)) {
    throw new SregistryError(
      'UNSUPPORTED',
      `The files in this image cannot be listed: it is ${root.unreadable}`,
      {
        hint: 'Singularity can: singularity exec IMAGE find PATH',
      },
    );
  }
  if ((await root.stat(path)) === undefined)
    throw new SregistryError('NOT_FOUND', `There is no ${path} in the image`, {
      hint: 'List / to see what there is',
    });
  yield* root.walk(path);
}

function describeFileSystem({ fileSystem }: SifPartition): string {
  switch (fileSystem) {
    case 'encrypted-squashfs':
    case 'gocryptfs-squashfs':
      return 'encrypted';
    case 'ext3':
      return 'a SIF with an ext file system';
    default:
      return `a SIF whose root is of the type ${fileSystem}`;
  }
}
