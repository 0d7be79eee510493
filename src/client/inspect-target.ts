/**
 * Finds the image that a text names for `inspect` and `verify`: a file on this machine, or an image of the library or a
 * backend.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SregistryError } from '../base/errors.ts';
import { fileError } from '../base/files.ts';
import { sha256File } from '../base/hash.ts';
import type { Container } from '../catalog/container.ts';
import { inspectedOf, labelsOf } from '../catalog/labels.ts';
import { toAttributes } from '../image/attributes.ts';
import { type Inspection, unreadable } from '../image/inspect.ts';
import { inspectFile } from '../image/metadata.ts';
import { uriScheme } from '../image/names.ts';
import { type ByteSource, openFileSource } from '../image/source.ts';
import { identifyFile } from './image-file.ts';
import { openImageSource } from './image-source.ts';
import { factsOf, inspectionOf } from './inspect-remote.ts';
import { isLayered, NEVER_SIGNED } from './layered-images.ts';
import { isLibraryDisabled } from './library.ts';
import type { Session } from './session.ts';
import { findImage, parseTarget } from './target.ts';

export type Facts = Readonly<Record<string, unknown>>;

export interface InspectTarget {
  /** Path or URI. */
  readonly title: string;
  /** What is known of it from elsewhere, as plain JSON. */
  facts(): Promise<Facts>;
  /** What it says about itself; `unknown` if that cannot be read. */
  inspection(): Promise<Inspection>;
  /** Why nobody can have signed it, if its bytes need not be read to tell. */
  readonly neverSigned?: string | undefined;
  /** Its bytes, fetched when they are read. `await using` closes it. */
  open(): Promise<ByteSource & AsyncDisposable>;
}

/**
 * `text` is the path of a file that exists, a URI, or else a name: of the image in the library if it has one, else of the active
 * backend's. Throws NOT_FOUND if the image does not exist.
 */
export async function findInspectTarget(
  session: Session,
  text: string,
  signal?: AbortSignal,
): Promise<InspectTarget> {
  if (uriScheme(text) !== undefined) return remoteImage(session, text, signal);
  if (looksLikePath(text) || (await isFile(text))) return imageFile(text, signal);
  const container = isLibraryDisabled(session.env) ? undefined : session.library.get(text);
  return container === undefined
    ? remoteImage(session, text, signal)
    : libraryImage(session, container, signal);
}

async function remoteImage(session: Session, text: string, signal?: AbortSignal): Promise<InspectTarget> {
  const target = await parseTarget(text, session);
  const { backend, name } = target;
  const image = await findImage(session, target, signal);
  return {
    title: session.uri(backend, name),
    facts: async () => factsOf(session, backend, image),
    inspection: () => inspectionOf(session, backend, image, signal),
    neverSigned: isLayered(image) ? NEVER_SIGNED : undefined,
    open: () => openImageSource(session, backend, image, signal),
  };
}

function imageFile(path: string, signal?: AbortSignal): InspectTarget {
  const failed = (error: unknown): never => {
    throw fileError('read', path, error);
  };
  return {
    title: path,
    facts: async () => {
      const { kind, size, length, whole } = await identifyFile(path);
      return { path, kind, size, length, whole, digest: await sha256File(path, { signal }) };
    },
    inspection: () => inspectFile(path, signal).catch(unreadable).catch(failed),
    open: () => openFileSource(path).catch(failed),
  };
}

/**
 * An image of the library. The facts are its row, as the Python client prints it. If its file is gone, the row also tells what
 * was inside.
 */
function libraryImage(session: Session, container: Container, signal?: AbortSignal): InspectTarget {
  const { file, metrics, name, uri } = container;
  const facts = async () => ({ ...session.library.inspect(name) });
  if (file !== undefined && existsSync(file)) return { ...imageFile(file, signal), title: uri, facts };
  const attributes = inspectedOf(metrics) ?? toAttributes({ labels: labelsOf(metrics) });
  return {
    title: uri,
    facts,
    inspection: async () => ({ data: { attributes }, type: 'container' }),
    open: async () => {
      throw new SregistryError('NOT_FOUND', `The library has no file of ${uri}`, {
        hint: `Pull it again, or remove it with: sregistry rm ${uri}`,
      });
    },
  };
}

/** No image's name begins like this. */
const looksLikePath = (text: string) => /^\.{0,2}\//.test(text);

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
