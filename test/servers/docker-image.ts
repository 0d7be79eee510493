/** Puts a Docker/OCI image into a registry, as any client does: blobs, configuration, manifest. */
import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ContainerConfig } from '../../src/image/layers/scripts.ts';

const OCI = 'application/vnd.oci.image';

export interface DockerImage {
  /** Uncompressed archives, the lowest first. */
  readonly layers: readonly Buffer[];
  readonly config?: ContainerConfig;
  /** As Go names it. Default: `amd64`. */
  readonly architecture?: string;
  /** How each layer is compressed. Default: gzip. */
  readonly compression?: readonly ('gzip' | 'zstd' | 'none')[];
  /** Changes the manifest or the configuration before they are stored. */
  readonly change?: (part: 'manifest' | 'config', value: Record<string, unknown>) => Record<string, unknown>;
}

const PACK = { gzip: gzipSync, zstd: zstdCompressSync, none: (bytes: Buffer) => bytes };
const SUFFIX = { gzip: '+gzip', zstd: '+zstd', none: '' };

/** Stores the image as `<repository>:<tag>`, and returns the descriptor of its manifest. */
export async function putDockerImage(registry: string, repository: string, tag: string, image: DockerImage) {
  const { layers, config = {}, architecture = 'amd64', compression = [], change = (_, value) => value } = image;
  const stored = [];
  for (const [i, layer] of layers.entries()) {
    const form = compression[i] ?? 'gzip';
    stored.push(await putBlob(registry, repository, PACK[form](layer), `${OCI}.layer.v1.tar${SUFFIX[form]}`));
  }
  const described = change('config', {
    created: '2024-05-06T07:08:09.5Z',
    architecture,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
  });
  const manifest = change('manifest', {
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: await putBlob(registry, repository, json(described), `${OCI}.config.v1+json`),
    layers: stored,
  });
  return putManifest(registry, repository, tag, manifest, `${OCI}.manifest.v1+json`);
}

/** Stores an index of images, each with its architecture. */
export async function putIndex(
  registry: string,
  repository: string,
  tag: string,
  manifests: readonly { readonly architecture: string; readonly manifest: object }[],
) {
  const type = `${OCI}.index.v1+json`;
  const entries = manifests.map(({ architecture, manifest }) => ({
    ...manifest,
    platform: { os: 'linux', architecture },
  }));
  return putManifest(registry, repository, tag, { schemaVersion: 2, mediaType: type, manifests: entries }, type);
}

async function putManifest(registry: string, repository: string, tag: string, value: object, type: string) {
  const body = json(value);
  await send(`${registry}/v2/${repository}/manifests/${tag}`, 'PUT', body, type);
  return { mediaType: type, digest: digestOf(body), size: body.length };
}

async function putBlob(registry: string, repository: string, bytes: Buffer, mediaType: string) {
  const digest = digestOf(bytes);
  const { headers } = await send(`${registry}/v2/${repository}/blobs/uploads/`, 'POST');
  const location = new URL(headers.get('location') ?? '', registry);
  location.searchParams.set('digest', digest);
  await send(location.href, 'PUT', bytes, 'application/octet-stream');
  return { mediaType, digest, size: bytes.length };
}

async function send(url: string, method: string, body?: Buffer, type?: string): Promise<Response> {
  const response = await fetch(url, {
    method,
    ...(body && { body: new Uint8Array(body) }),
    ...(type && { headers: { 'content-type': type } }),
  });
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  return response;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
