/** Pushes an image as Apptainer's `oras://` does: the file as the only layer, an empty configuration, a manifest. */
import { basename, extname } from 'node:path';
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import { pushSmallBlob } from './blobs.ts';
import { digestOf, digestOfTag, type FetchedManifest } from './fetch-manifest.ts';
import { toRemoteImage } from './images.ts';
import { CREATED, OCI_MANIFEST, parseManifest, REF_NAME, SIF_CONFIG, SIF_LAYER } from './manifest.ts';
import { isRepository, isTag } from './reference.ts';
import { pathOf, type Repository, referenceOf } from './registries.ts';
import { pushFile } from './upload.ts';

/** `{}`: Apptainer ignores the configuration, but registries require one. */
const CONFIG = Buffer.from('{}');
/** Name of the file for clients that write it out, such as `oras pull`. */
const TITLE = 'org.opencontainers.image.title';

export async function pushImage(
  repository: Repository,
  file: ImageFile,
  name: ImageName,
  { annotations, ifAbsent, ...options }: PushOptions = {},
): Promise<RemoteImage> {
  checkTarget(repository, name);
  const digest = await pushFile(repository, file, options);
  await pushSmallBlob(repository, CONFIG);
  const bytes = manifestOf(file, digest, name, annotations);
  const stored = await putManifest(repository, name.tag, { bytes, mediaType: OCI_MANIFEST }, { ifAbsent });
  return toRemoteImage(repository, name, stored);
}

/** Throws INVALID_NAME if the registry cannot have this name. */
export function checkTarget(repository: Repository, name: ImageName): void {
  const what = referenceOf(repository, name.tag);
  if (!isRepository(repository.path))
    throw new SregistryError('INVALID_NAME', `${what}: not a valid repository name`, {
      hint: 'use lower-case letters and digits, joined by single dots, underscores and dashes',
    });
  if (!isTag(name.tag))
    throw new SregistryError('INVALID_NAME', `${what}: not a valid tag`, {
      hint: 'use at most 128 letters, digits, dots, underscores and dashes',
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

/**
 * Stores a manifest under a tag. Throws CORRUPT if the registry states another digest.
 *
 * With `ifAbsent`, throws EXISTS if the tag exists. The specification has no conditional PUT: this looks right before the PUT,
 * and sends `If-None-Match`, which some registries honour and the others ignore.
 */
export async function putManifest(
  repository: Repository,
  tag: string,
  { bytes, mediaType }: Pick<FetchedManifest, 'bytes' | 'mediaType'>,
  { ifAbsent = false }: Pick<PushOptions, 'ifAbsent'> = {},
): Promise<FetchedManifest> {
  const { http, catalog, host, signal } = repository;
  const path = pathOf(repository, `manifests/${tag}`);
  const digest = digestOf(bytes);
  const exists = () => new SregistryError('EXISTS', `${referenceOf(repository, tag)} exists already`);
  if (ifAbsent && (await digestOfTag(repository, tag)) !== undefined) throw exists();
  const headers = { 'content-type': mediaType, ...(ifAbsent && { 'if-none-match': '*' }) };
  const reply = await http.put(path, { body: bytes, headers, signal, allow: ifAbsent ? [412] : [] });
  // A PUT whose reply was lost is sent again, and then finds its own manifest.
  if (reply.status === 412 && (await digestOfTag(repository, tag)) !== digest) throw exists();
  catalog.forget();
  const stated = reply.headers['docker-content-digest'];
  if (stated?.startsWith('sha256:') && stated !== digest)
    throw new SregistryError('CORRUPT', `${host}${path}: stored as ${stated} instead of ${digest}`);
  return { ...parseManifest(bytes, mediaType, path), bytes, digest };
}
