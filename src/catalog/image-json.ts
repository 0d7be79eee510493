/** Remote images and listings as JSON text, dates included. */
import type { ListEntry, RemoteImage } from '../image/remote.ts';

/** A RemoteImage after JSON.stringify: `modified` has become text, or null if it was not a valid date. */
type EncodedImage = Omit<RemoteImage, 'modified'> & { readonly modified?: string | null };

type ImageEntry = Extract<ListEntry, { kind: 'image' }>;

type EncodedEntry =
  | Extract<ListEntry, { kind: 'collection' }>
  | (Omit<ImageEntry, 'remote'> & { readonly remote?: EncodedImage });

export function encodeImage(image: RemoteImage): string {
  return JSON.stringify(image);
}

export function decodeImage(text: string): RemoteImage {
  return reviveImage(JSON.parse(text) as EncodedImage);
}

export function encodeEntries(entries: readonly ListEntry[]): string {
  return JSON.stringify(entries);
}

export function decodeEntries(text: string): ListEntry[] {
  return (JSON.parse(text) as EncodedEntry[]).map(reviveEntry);
}

function reviveEntry(entry: EncodedEntry): ListEntry {
  if (entry.kind === 'collection') return entry;
  const { remote, ...told } = entry;
  return remote === undefined ? told : { ...told, remote: reviveImage(remote) };
}

function reviveImage({ modified, ...image }: EncodedImage): RemoteImage {
  return typeof modified === 'string' ? { ...image, modified: new Date(modified) } : image;
}
