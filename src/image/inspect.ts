/**
 * What `apptainer inspect --json --all` says about an image, read from the image itself.
 *
 * A SIF that Apptainer or a later Singularity 3 built carries the answer as a JSON object,
 * `inspect-metadata.json`; reading it takes the first few KiB of the file. Every other image has the same facts as
 * files in its root, see inspect-root.ts.
 */
import { isError } from '../base/errors.ts';
import { ATTRIBUTE_NAMES, type Attributes, toAttributes } from './attributes.ts';
import { type Image, openImage, openRoot } from './image.ts';
import { inspectRoot } from './inspect-root.ts';
import { readSifData } from './sif.ts';
import type { ByteSource } from './source.ts';
import { SquashFs } from './squashfs/filesystem.ts';

export interface Inspection {
  readonly data: { readonly attributes: Attributes };
  readonly type: 'container';
  /** Set if not everything could be read: which further attributes there may be, and why they are unknown. */
  readonly unknown?: { readonly attributes: readonly (keyof Attributes)[]; readonly reason: string };
}

/** As the first versions of the Python client printed it: the environment as one text, `help`, and null for missing parts. */
export interface OlderInspection {
  readonly data: {
    readonly attributes: {
      readonly deffile: string | null;
      readonly environment: string | null;
      readonly help: string | null;
      readonly labels: Readonly<Record<string, string>> | null;
      readonly runscript: string | null;
      readonly test: string | null;
    };
    readonly type: 'container';
  };
}

const METADATA_NAME = 'inspect-metadata.json';
/** Bytes of the JSON object or the definition file. */
const MAX_OBJECT = 16 * 1024 * 1024;

/**
 * @throws {SregistryError} NOT_AN_IMAGE if it is not an image or is damaged, CORRUPT if it is not whole; also the errors of the
 * source.
 */
export async function inspect(source: ByteSource): Promise<Inspection> {
  return inspectImage(await openImage(source));
}

/** {@link inspect} of an image already opened. */
export async function inspectImage(image: Image): Promise<Inspection> {
  const deffile = await readText(image, 'deffile');
  const object = await readMetadataObject(image);
  if (object !== undefined) return known({ deffile, ...object });
  const root = await openRoot(image);
  if (root instanceof SquashFs) {
    const attributes = await inspectRoot(root);
    return known({ ...attributes, deffile: deffile ?? attributes.deffile });
  }
  const found = known({ deffile });
  const unknown = ATTRIBUTE_NAMES.filter((name) => found.data.attributes[name] === undefined);
  return { ...found, unknown: { attributes: unknown, reason: `It is ${root.unreadable}` } };
}

/** The same facts under the names that metadata had first. */
export function olderView({ data: { attributes } }: Inspection): OlderInspection {
  const { deffile = null, helpfile = null, labels = null, runscript = null, test = null } = attributes;
  const scripts = Object.values(attributes.environment ?? {});
  const environment = scripts.length === 0 ? null : scripts.join('\n');
  return {
    data: {
      attributes: { deffile, environment, help: helpfile, labels, runscript, test },
      type: 'container',
    },
  };
}

/**
 * The inspection of an image that is damaged inside, or packed in a way that only Singularity may know. Rethrows any other
 * error.
 */
export function unreadable(error: unknown): Inspection {
  if (!isError(error, 'NOT_AN_IMAGE', 'CORRUPT')) throw error;
  const unknown = { attributes: ATTRIBUTE_NAMES, reason: error.message };
  return { data: { attributes: {} }, type: 'container', unknown };
}

function known(attributes: Attributes): Inspection {
  return { data: { attributes: toAttributes(attributes) }, type: 'container' };
}

/** The facts as the builder stored them; undefined if there are none, or if they are malformed. */
async function readMetadataObject(image: Image): Promise<Attributes | undefined> {
  const text = await readText(image, 'json', METADATA_NAME);
  if (text === undefined) return undefined;
  try {
    return toAttributes(JSON.parse(text).data.attributes);
  } catch {
    return undefined;
  }
}

/** Text of the first SIF object of a type, and name if given. */
async function readText(
  { sif, source }: Image,
  type: 'deffile' | 'json',
  name?: string,
): Promise<string | undefined> {
  const descriptor = sif?.descriptors.find((d) => d.type === type && (name === undefined || d.name === name));
  if (descriptor === undefined) return undefined;
  return Buffer.from(await readSifData(source, descriptor, MAX_OBJECT)).toString();
}
