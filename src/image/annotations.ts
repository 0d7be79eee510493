/**
 * Turns metadata into flat strings, which services keep beside an image (OCI annotations, object metadata), and back.
 *
 * An image's labels get their own keys, as with Docker, so that other tools show them. Everything that `inspect` tells goes
 * into one more key as JSON. Registries limit the size of manifests, some to far less than a few MiB, so what does not fit is
 * left out. The image still has it.
 */
import { type Attributes, toAttributes, toStrings } from './attributes.ts';
import type { Metadata } from './metadata.ts';

export const INSPECT_KEY = 'org.sregistry.inspect';
/** Keys of the OCI image specification, annotations.md. */
const TITLE_KEY = 'org.opencontainers.image.title';
const CREATED_KEY = 'org.opencontainers.image.created';
const DERIVED = [TITLE_KEY, CREATED_KEY, INSPECT_KEY];

/** Bytes of UTF-8, keys and values together. */
const MAX_TOTAL = 64 * 1024;
const MAX_INSPECT = 32 * 1024;

/** Flat strings for a registry, at most 64 KiB in all; the image's own labels win over what is derived here. */
export function flattenAnnotations(metadata: Metadata): Record<string, string> {
  const { attributes } = metadata.data;
  const inspection = JSON.stringify(attributes);
  const fits = metadata.unknown === undefined && Buffer.byteLength(inspection) <= MAX_INSPECT;
  const labels = attributes.labels ?? {};
  return withinTotal([
    [TITLE_KEY, labels[TITLE_KEY] ?? `${metadata.image}:${metadata.tag || 'latest'}`],
    [CREATED_KEY, labels[CREATED_KEY] ?? metadata.created ?? ''],
    [INSPECT_KEY, fits ? inspection : ''],
    ...Object.entries(labels).filter(([key]) => !DERIVED.includes(key)),
  ]);
}

/** What annotations tell about an image: everything if the result of `inspect` was stored, else only the labels. */
export function readAnnotations(annotations: Readonly<Record<string, string>> = {}): Attributes {
  const { [INSPECT_KEY]: inspection, ...labels } = annotations;
  return parse(inspection) ?? toAttributes({ labels: toStrings(labels) });
}

/** The entries that fit, in order. Skips an entry that is too large and continues with the next. */
function withinTotal(entries: readonly (readonly [string, string])[]): Record<string, string> {
  let left = MAX_TOTAL;
  const kept = entries.filter(([key, value]) => {
    if (key === '' || value === '') return false;
    const size = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (size > left) return false;
    left -= size;
    return true;
  });
  return Object.fromEntries(kept);
}

function parse(text: string | undefined): Attributes | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? toAttributes(value) : undefined;
  } catch {
    return undefined;
  }
}
