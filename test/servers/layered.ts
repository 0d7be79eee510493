/** Containers in layers, made here and pushed to a registry by its plain HTTP API. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { hostPlatform } from '../../src/base/platform.ts';

export interface TarEntry {
  readonly path: string;
  /** Default: a file. */
  readonly type?: 'directory' | 'symlink' | 'hard-link';
  readonly data?: Buffer | string;
  readonly target?: string;
  readonly mode?: number;
}

const TYPES: Readonly<Record<string, string>> = { file: '0', 'hard-link': '1', symlink: '2', directory: '5' };

/** An archive as POSIX ustar, all of root, from 2020. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const blocks = entries.flatMap(({ path, type = 'file', data = '', target = '', mode }) => {
    const bytes = Buffer.from(data);
    const header = Buffer.alloc(512);
    header.write(path, 0);
    header.write((mode ?? (type === 'file' ? 0o644 : 0o755)).toString(8).padStart(7, '0'), 100);
    header.write('0000000\x000000000', 108);
    header.write(bytes.length.toString(8).padStart(11, '0'), 124);
    header.write((1_580_000_000).toString(8).padStart(11, '0'), 136);
    header.write('        ', 148);
    header.write(TYPES[type] as string, 156);
    header.write(target, 157);
    header.write('ustar\x0000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** Programs of this machine as `bin/NAME`, with the libraries that they load. */
export function programs(...names: readonly string[]): TarEntry[] {
  const found = names.map((name) => ({
    name,
    path: execFileSync('which', [name], { encoding: 'utf8' }).trim(),
  }));
  const needed = found.flatMap(
    ({ path }) => execFileSync('ldd', [path], { encoding: 'utf8' }).match(/\/\S+/g) ?? [],
  );
  const entry = (path: string, from: string) => ({ path, data: readFileSync(from), mode: 0o755 });
  return [
    { path: 'bin/', type: 'directory' },
    ...found.map(({ name, path }) => entry(`bin/${name}`, path)),
    ...[...new Set(needed)].map((path) => entry(path.slice(1), path)),
    { path: 'etc/', type: 'directory' },
  ];
}

export type Compression = 'gzip' | 'zstd' | 'none';

export interface Layer {
  readonly tar: Buffer;
  readonly blob: Buffer;
  readonly mediaType: string;
  readonly diffId: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function layerOf(tar: Buffer, compression: Compression = 'gzip'): Layer {
  const base = 'application/vnd.oci.image.layer.v1.tar';
  const diffId = digestOf(tar);
  if (compression === 'none') return { tar, blob: tar, mediaType: base, diffId };
  const blob = compression === 'gzip' ? gzipSync(tar) : zstdCompressSync(tar);
  return { tar, blob, mediaType: `${base}+${compression}`, diffId };
}

export const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Where to push: the address of a registry, with the header of a login if it asks for one. */
export type Registry = string | { readonly url: string; readonly authorization: string };

export interface PushedImage {
  readonly digest: string;
  readonly mediaType: string;
  readonly size: number;
}

/**
 * Pushes an image of layers under a tag. `config` what its configuration says besides the layers. It is for this
 * machine unless it says otherwise.
 */
export async function pushLayered(
  registry: Registry,
  repository: string,
  tag: string,
  layers: readonly Layer[],
  config: object = {},
  architecture = hostPlatform().architecture,
  annotations: Readonly<Record<string, string>> = {},
): Promise<PushedImage> {
  const descriptors = layers.map(({ blob, mediaType, annotations }) => ({
    ...describe(blob, mediaType),
    ...(annotations && { annotations }),
  }));
  for (const { blob } of layers) await pushBlob(registry, repository, blob);
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const configuration = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      created: '2020-02-02T02:02:02Z',
      config,
      rootfs,
    }),
  );
  await pushBlob(registry, repository, configuration);
  return pushManifest(registry, repository, tag, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: describe(configuration, 'application/vnd.oci.image.config.v1+json'),
    layers: descriptors,
    annotations,
  });
}

/** Pushes an index of images, one for each architecture. */
export function pushIndex(
  registry: Registry,
  repository: string,
  tag: string,
  images: Readonly<Record<string, PushedImage>>,
): Promise<PushedImage> {
  const manifests = Object.entries(images).map(([architecture, image]) => ({
    ...image,
    platform: { os: 'linux', architecture },
  }));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  return pushManifest(registry, repository, tag, { schemaVersion: 2, mediaType, manifests });
}

/** The descriptor of a blob. */
export function describe(bytes: Buffer, mediaType: string): PushedImage {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** Pushes a manifest under a tag, or under its digest. */
export async function pushManifest(
  registry: Registry,
  repository: string,
  tag: string | undefined,
  manifest: { readonly mediaType: string; readonly [more: string]: unknown },
): Promise<PushedImage> {
  const body = Buffer.from(JSON.stringify(manifest));
  const headers = { 'content-type': manifest.mediaType };
  await send(registry, `/v2/${repository}/manifests/${tag ?? digestOf(body)}`, {
    method: 'PUT',
    body,
    headers,
  });
  return describe(body, manifest.mediaType);
}

export async function pushBlob(registry: Registry, repository: string, blob: Buffer): Promise<void> {
  const started = await send(registry, `/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(started.headers.get('location') as string, urlOf(registry));
  location.searchParams.set('digest', digestOf(blob));
  const headers = { 'content-type': 'application/octet-stream' };
  await send(registry, location.href, { method: 'PUT', body: blob, headers });
}

const urlOf = (registry: Registry) => (typeof registry === 'string' ? registry : registry.url);

async function send(
  registry: Registry,
  path: string,
  init: RequestInit & { readonly headers?: Record<string, string> },
): Promise<Response> {
  const login = typeof registry === 'string' ? {} : { authorization: registry.authorization };
  const url = new URL(path, urlOf(registry));
  const response = await fetch(url, { ...init, headers: { ...init.headers, ...login } });
  if (!response.ok) throw new Error(`${init.method} ${url}: ${response.status} ${await response.text()}`);
  return response;
}
