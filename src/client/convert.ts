/**
 * Makes an image file of a container that a registry has as layers: what `apptainer pull docker://` makes, a SIF with a compressed
 * SquashFS. The layers are never unpacked to a disk: the SquashFS is packed from their archives in the cache.
 */
import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import type { Backend, Progress } from '../backends/backend.ts';
import { addContainerFiles } from '../image/layers/container.ts';
import { inspectTree } from '../image/layers/inspect-tree.ts';
import { LayerTree } from '../image/layers/merge.ts';
import { unpackEntries } from '../image/layers/packed-entries.ts';
import type { ContainerConfig } from '../image/layers/scripts.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { architectureCode, type SifObject, writeSif } from '../image/sif-writer.ts';
import { packSquashFs } from '../image/squashfs/pack.ts';
import type { LayeredImage } from './layered-images.ts';
import type { OpenLayer } from './open-layer.ts';
import type { Session } from './session.ts';

export interface ConvertOptions {
  /** Told of the compressed layers as they are fetched, then of their contents as they are packed. */
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes the image to the new file `file`, and removes it on failure. One image under one name always gives the same bytes.
 * @throws {SregistryError} NOT_PRESENTABLE if no SIF can hold it, NOT_AN_IMAGE if its layers cannot be applied, CORRUPT if one has
 *   another digest; the errors of the backend and of the disk.
 */
export async function convert(
  session: Session,
  backend: Backend,
  image: LayeredImage,
  file: string,
  options: ConvertOptions = {},
): Promise<void> {
  // Before anything is fetched.
  architectureCode(image.layered.architecture);
  // Packing reads all files, in another order than that of the layers.
  const layers = await session.layered.openLayers(backend, image, session.current(backend, image), {
    ...options,
    whole: true,
  });
  try {
    await write(image, layers, file, options);
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await Promise.all(layers.map((layer) => layer[Symbol.asyncDispose]()));
  }
}

async function write(
  image: LayeredImage,
  layers: readonly OpenLayer[],
  file: string,
  { progress, signal }: ConvertOptions,
): Promise<void> {
  const { architecture, config, created } = image.layered;
  const from = sourceOf(image);
  const tree = new LayerTree(created);
  for (const layer of layers) tree.apply(unpackEntries(await layer.entries()));
  addContainerFiles(tree, config, { modified: created, architecture, from });
  const inspection = { data: { attributes: await inspectTree(tree, layers) }, type: 'container' };
  const objects: SifObject[] = [
    { type: 'deffile', bytes: Buffer.from(`bootstrap: docker\nfrom: ${from}\n\n`) },
    { type: 'json', name: 'inspect-metadata.json', bytes: json(inspection) },
    { type: 'json', name: 'oci-config.json', bytes: json(withoutEmpty(config)) },
  ];
  await using output = await open(file, 'wx');
  const writeAt = async (bytes: Uint8Array, at: number) => {
    for (let done = 0; done < bytes.length; )
      done += (await output.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  };
  const packRoot = (write: typeof writeAt) =>
    packSquashFs(tree.root, layers, write, { compressor: 'gzip', modified: created, signal, progress });
  await writeSif(writeAt, objects, packRoot, { id: idOf(image, from), created, architecture });
  await output.sync();
}

/** What stands behind `docker://` for this image: the definition file of Apptainer has the same. */
function sourceOf({ name, origin }: RemoteImage): string {
  const text = formatImageName(name);
  return origin === undefined || origin === DOCKER_HUB || name.registry !== undefined
    ? text
    : `${origin}/${text}`;
}

/** Docker Hub, which a name without a registry means. */
const DOCKER_HUB = 'registry-1.docker.io';

/** A UUID of version 8 (RFC 9562), which follows from the image. */
function idOf({ revision }: RemoteImage, from: string): Uint8Array {
  const id = createHash('sha256').update(`${revision} ${from}`).digest().subarray(0, 16);
  id[6] = ((id[6] as number) & 0x0f) | 0x80;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** As Go leaves out what is empty. */
function withoutEmpty(config: ContainerConfig): object {
  const isEmpty = (value: unknown) =>
    value === undefined || (typeof value === 'object' && Object.keys(value ?? {}).length === 0);
  return Object.fromEntries(Object.entries(config).filter(([, value]) => !isEmpty(value)));
}
