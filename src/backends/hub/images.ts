/** Resolves images: fetches the manifest of a name, then asks the storage for the size of the linked file. */
import { basename } from 'node:path';
import type { ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../backend.ts';
import type { Links } from '../kit/manifest-link.ts';
import type { Api } from './api.ts';
import { fetchManifest, type Manifest, pathOf } from './manifest.ts';

export async function resolveImage(
  api: Api,
  links: Links,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const path = pathOf(name);
  const manifest = path === undefined ? undefined : await fetchManifest(api, path, signal);
  if (path === undefined || manifest === undefined || isOther(manifest, name)) return undefined;
  const { annotations, url, version } = manifest;
  const file = await links.find(path, manifest, signal);
  const { extension } = splitExtension(basename(url.pathname));
  return { name, ...file, version: version || undefined, annotations, extension };
}

/** Is this another version than requested? An archive may answer with the version it has. */
function isOther({ versions }: Manifest, { version }: ImageName): boolean {
  if (version === undefined || versions.length === 0) return false;
  return !versions.some((known) => known.toLowerCase().startsWith(version.toLowerCase()));
}
