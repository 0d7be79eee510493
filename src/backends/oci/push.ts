/** Pushing an image as Apptainer's `oras://` does: the file as the only layer, an empty configuration, a manifest. */
import { basename, extname } from 'node:path';
import { SregistryError } from '../../base/errors.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import { pushSmallBlob } from './blobs.ts';
import { isRepository, isTag } from './grammar.ts';
import { CREATED, digestOf, type FetchedManifest, toRemoteImage } from './images.ts';
import { OCI_MANIFEST, parseManifest, REF_NAME, SIF_CONFIG, SIF_LAYER } from './manifest.ts';
import type { Place } from './reference.ts';
import type { Registry } from './registries.ts';
import { pushFile } from './upload.ts';

/** `{}`: Apptainer ignores the configuration, registries want one. */
const CONFIG = Buffer.from('{}');
/** Name of the file for clients that write it out, such as `oras pull`. */
const TITLE = 'org.opencontainers.image.title';

export async function pushImage(
  registry: Registry,
  place: Place,
  file: ImageFile,
  name: ImageName,
  options: PushOptions = {},
): Promise<RemoteImage> {
  const { repository } = place;
  checkTarget(place, name);
  const { signal, progress, resume } = options;
  const digest = file.digest ?? (await sha256File(file.path, { signal }));
  await pushFile(
    registry,
    repository,
    { path: file.path, size: file.size, digest },
    { signal, progress, resume },
  );
  await pushSmallBlob(registry, repository, CONFIG, signal);
  const bytes = manifestOf(file, digest, name, options.annotations);
  const manifest = await putManifest(
    registry,
    repository,
    name.tag,
    { bytes, mediaType: OCI_MANIFEST },
    signal,
  );
  return toRemoteImage(registry, repository, name, manifest, manifest);
}

/** A name that is pushed to must be one the registry can have; what can only be looked up need not. */
export function checkTarget({ host, repository }: Place, name: ImageName): void {
  const what = `${host}/${repository}:${name.tag}`;
  if (!isRepository(repository))
    throw new SregistryError('INVALID_NAME', `${what}: not the name of a repository`, {
      hint: 'lower-case letters and digits, joined by single dots, underscores and dashes',
    });
  if (!isTag(name.tag))
    throw new SregistryError('INVALID_NAME', `${what}: not a tag`, {
      hint: 'at most 128 letters, digits, dots, underscores and dashes',
    });
}

function manifestOf(
  file: ImageFile,
  digest: string,
  name: ImageName,
  annotations: Readonly<Record<string, string>> = {},
): Buffer {
  const { [TITLE]: title = titleOf(file, name), ...others } = annotations;
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: SIF_CONFIG, digest: digestOf(CONFIG), size: CONFIG.length },
      layers: [{ mediaType: SIF_LAYER, digest, size: file.size, annotations: { [TITLE]: title } }],
      annotations: { [CREATED]: new Date().toISOString(), ...others, [REF_NAME]: name.tag },
    }),
  );
}

/** `hello_latest.sif`, as `apptainer pull` would name it. */
function titleOf(file: ImageFile, name: ImageName): string {
  const extension = extname(basename(file.path));
  return `${name.image}_${name.tag}${/^\.(sif|simg|img|sqsh|squashfs)$/.test(extension) ? extension : '.sif'}`;
}

/** Stores a manifest under a tag. A registry that states another digest for it is the error CORRUPT. */
export async function putManifest(
  registry: Registry,
  repository: string,
  tag: string,
  { bytes, mediaType }: Pick<FetchedManifest, 'bytes' | 'mediaType'>,
  signal?: AbortSignal,
): Promise<FetchedManifest> {
  const path = `/v2/${repository}/manifests/${tag}`;
  const headers = { 'content-type': mediaType };
  const reply = await registry.http.put(path, { body: bytes, headers, signal });
  registry.catalog.forget();
  const digest = digestOf(bytes);
  const stated = reply.headers['docker-content-digest'];
  if (stated?.startsWith('sha256:') && stated !== digest)
    throw new SregistryError('CORRUPT', `${registry.host}${path}: stored as ${stated} instead of ${digest}`);
  return { ...parseManifest(bytes, mediaType, path), bytes, digest };
}
