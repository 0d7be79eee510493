/** Labels in a container's metrics, whichever program wrote them. */

/** The Python tool lays labels flat among these, which say what the image is called. */
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

/** Of `inspect`; text as well, but no labels. */
const SECTIONS = new Set(['deffile', 'environment', 'help', 'helpfile', 'runscript', 'startscript', 'test']);

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

function object(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}
