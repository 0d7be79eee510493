/** Reads what a container's metrics tell of an image, above all its labels, in the forms of either program. */
import { sameInAnyCase } from '../base/any-case.ts';
import { INSPECT_KEY, readAnnotations } from '../image/annotations.ts';
import { type Attributes, toAttributes } from '../image/attributes.ts';
import type { Container } from './container.ts';

/** A label, and the images that have it with this value. */
export interface LabelUse<T = Container> {
  readonly key: string;
  readonly value: string;
  readonly images: readonly T[];
}

/** Texts that a label must equal; case does not matter. */
export interface LabelFilter {
  readonly key?: string | undefined;
  readonly value?: string | undefined;
}

/** Keys that say what the image is called. The Python client puts labels flat among them. */
const NAMES = new Set([
  'collection',
  'image',
  'original',
  'registry',
  'storage',
  'tag',
  'type',
  'uri',
  'url',
  'version',
]);

/** Further keys with text that are not labels: those of `inspect`. */
const SECTIONS = new Set([
  'deffile',
  'environment',
  'help',
  'helpfile',
  INSPECT_KEY,
  'runscript',
  'startscript',
  'test',
]);

type Json = Readonly<Record<string, unknown>>;

/** Flat labels, those of `inspect`'s `attributes.labels`, and a `labels` object; the latter two win. */
export function labelsOf(metrics: Json): Record<string, string> {
  const inspected = object(metrics.data) ?? metrics;
  const flat = Object.entries(metrics).filter(([key]) => !NAMES.has(key) && !SECTIONS.has(key));
  return Object.fromEntries(
    [
      ...flat,
      ...Object.entries(object(object(inspected.attributes)?.labels) ?? {}),
      ...Object.entries(object(metrics.labels) ?? {}),
    ].filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** What `inspect` told when the image was added; undefined if the row does not have it. */
export function inspectedOf(metrics: Json): Attributes | undefined {
  const attributes = object(object(metrics.data)?.attributes);
  if (attributes !== undefined) return toAttributes(attributes);
  const pushed = metrics[INSPECT_KEY];
  return typeof pushed === 'string' ? readAnnotations({ [INSPECT_KEY]: pushed }) : undefined;
}

/** Every label that the filter lets through, in the order they are met. */
export function labelUses<T>(
  labelled: Iterable<readonly [image: T, labels: Readonly<Record<string, string>>]>,
  filter: LabelFilter,
): LabelUse<T>[] {
  const uses = new Map<string, LabelUse<T> & { images: T[] }>();
  for (const [image, labels] of labelled) {
    for (const [key, value] of Object.entries(labels)) {
      if (!sameInAnyCase(filter.key ?? key, key) || !sameInAnyCase(filter.value ?? value, value)) continue;
      const id = JSON.stringify([key, value]);
      const use = uses.get(id) ?? { key, value, images: [] };
      use.images.push(image);
      uses.set(id, use);
    }
  }
  return [...uses.values()];
}

function object(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}
