/** A container in layers as an image described over them. */
import { entryModule } from '../../base/package.ts';
import { runJob } from '../../base/threads.ts';
import type { Assembly } from '../assembled.ts';
import { describeSquashFs } from '../squashfs/describe.ts';
import { addContainerFiles } from './container.ts';
import type { Layered } from './image.ts';
import { LayerTree } from './merge.ts';

/** What an image is made of besides its layers. */
export type Container = Pick<Layered, 'architecture' | 'config' | 'created'>;

/** What the job is given. */
export interface DescribeWork {
  readonly container: Container;
  /** From the lowest: bytes of each archive, and what is in it as packed-entries.ts has it. */
  readonly layers: readonly { readonly size: number; readonly entries: Uint8Array }[];
}

export interface DescribedImage {
  /** Bytes of the image. */
  readonly size: number;
  /** See packed-image.ts. */
  readonly packed: Uint8Array<ArrayBuffer>;
}

const JOB = entryModule('image/layers/describe-job');

/** The whole image of a tree that all layers were applied to, `sizes` being those of the layers. */
export function describeTree(
  tree: LayerTree,
  { architecture, config, created: modified }: Container,
  sizes: readonly number[],
): Assembly {
  addContainerFiles(tree, config, { modified, architecture });
  return describeSquashFs(tree.root, sizes, modified);
}

/** The image that it would be without layers: what it says of itself is the same. */
export function describeWithoutLayers(container: Container): Assembly {
  return describeTree(new LayerTree(container.created), container, []);
}

/**
 * Merges layers and describes the image, in another thread: a hundred thousand files take seconds.
 * @throws {SregistryError} NOT_PRESENTABLE or NOT_AN_IMAGE if the layers make no tree, or none that SquashFS can hold.
 */
export function describeLayers(work: DescribeWork, signal: AbortSignal): Promise<DescribedImage> {
  return runJob<DescribeWork, DescribedImage>(JOB, work, { signal });
}
