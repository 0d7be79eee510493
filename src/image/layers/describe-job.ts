/** The job of describe-layers.ts. */
import { moved } from '../../base/moved.ts';
import { type DescribedImage, type DescribeWork, describeTree } from './describe-layers.ts';
import { LayerTree } from './merge.ts';
import { unpackEntries } from './packed-entries.ts';
import { packImage } from './packed-image.ts';

export function run({ container, layers }: DescribeWork): DescribedImage {
  const tree = new LayerTree(container.created);
  for (const { entries } of layers) tree.apply(unpackEntries(entries));
  const sizes = layers.map(({ size }) => size);
  const image = describeTree(tree, container, sizes);
  const packed = packImage(image);
  return moved({ size: image.size, packed }, packed.buffer);
}
