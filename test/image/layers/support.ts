/** Layers made by Python's tarfile and GNU tar, and the images that are described over them. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { assembledSource } from '../../../src/image/assembled.ts';
import { LayerTree } from '../../../src/image/layers/merge.ts';
import type { ContainerConfig } from '../../../src/image/layers/scripts.ts';
import { indexTar } from '../../../src/image/layers/tar.ts';
import { type ByteSource, openFileSource } from '../../../src/image/source.ts';
import { describeSquashFs } from '../../../src/image/squashfs/describe.ts';

export const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, 'layers.py');

/** Runs a command of layers.py. */
export async function python(...args: string[]): Promise<string> {
  return (await run('python3', [SCRIPT, ...args], { maxBuffer: 64 * 1024 * 1024 })).stdout;
}

/** What layers.py tells about one file. */
export interface Listed {
  readonly path: string;
  readonly shown: string;
  readonly [more: string]: unknown;
}

export async function list(root: string): Promise<Listed[]> {
  return JSON.parse(await python('list', root)) as Listed[];
}

/** Layer archives as sources, and their tree. */
export async function mergeFiles(paths: readonly string[]) {
  const sources: (ByteSource & AsyncDisposable)[] = [];
  const tree = new LayerTree(0);
  for (const [i, path] of paths.entries()) {
    const source = await openFileSource(path);
    sources.push(source);
    tree.apply(await indexTar(source, `Layer ${i + 1}`));
  }
  return { tree, sources };
}

/** The image described over layer archives, as a file. */
export async function writeImage(
  layers: readonly string[],
  path: string,
  change: (tree: LayerTree) => void = () => {},
): Promise<void> {
  const { tree, sources } = await mergeFiles(layers);
  change(tree);
  const sizes = sources.map(({ size }) => size);
  await copySource(assembledSource(describeSquashFs(tree.root, sizes, 0), sources), path);
  for (const source of sources) await source[Symbol.asyncDispose]();
}

export async function copySource(source: ByteSource, path: string): Promise<void> {
  await using file = await open(path, 'w');
  const step = 1_000_003;
  for (let at = 0; at < source.size; at += step) await file.write(await source.read(at, step));
}

/** An OCI image layout (image-spec, "Image Layout") of layer archives, tagged `latest`; returns the folder. */
export function ociLayout(folder: string, paths: readonly string[], config: ContainerConfig): string {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  const put = (bytes: Buffer, mediaType: string) => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(folder, 'blobs/sha256', hex), bytes);
    return {
      mediaType: `application/vnd.oci.image.${mediaType}`,
      digest: `sha256:${hex}`,
      size: bytes.length,
    };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const layers = paths.map((path) => put(readFileSync(path), 'layer.v1.tar'));
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
  const described = put(json({ architecture: 'amd64', os: 'linux', config, rootfs }), 'config.v1+json');
  const manifest = {
    ...put(json({ schemaVersion: 2, config: described, layers }), 'manifest.v1+json'),
    annotations: { 'org.opencontainers.image.ref.name': 'latest' },
  };
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  return folder;
}
