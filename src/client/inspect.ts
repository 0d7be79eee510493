/** What is known of an image: a file on this machine, an image of a backend, or one of the library. */
import { stat } from 'node:fs/promises';
import { sha256File } from '../base/hash.ts';
import { inspectFile } from '../image/metadata.ts';
import { uriScheme } from '../image/names.ts';
import { identifyFile } from './image-file.ts';
import { inspectRemote } from './inspect-remote.ts';
import { isLibraryDisabled } from './library.ts';
import type { Session } from './session.ts';
import { findImage, parseTarget } from './target.ts';

export type Facts = Readonly<Record<string, unknown>>;

/**
 * `text` is the path of a file that exists, a URI, or else a name: of the library's image where there is one, of the active
 * backend's where not.
 */
export async function inspect(session: Session, text: string, signal?: AbortSignal): Promise<Facts> {
  if (uriScheme(text) !== undefined) return inspectUri(session, text, signal);
  if (looksLikePath(text) || (await isFile(text))) return inspectLocal(text, signal);
  if (!isLibraryDisabled(session.env) && session.library.get(text) !== undefined)
    return { ...session.library.inspect(text) };
  return inspectUri(session, text, signal);
}

async function inspectUri(session: Session, text: string, signal?: AbortSignal): Promise<Facts> {
  const target = await parseTarget(text, session);
  const image = await findImage(session, target, signal);
  return { ...(await inspectRemote(session, target.backend, image, signal)) };
}

async function inspectLocal(path: string, signal?: AbortSignal): Promise<Facts> {
  const { kind, size, length, whole, reason } = await identifyFile(path);
  const digest = await sha256File(path, { signal });
  const facts = { path, kind, size, length, whole, digest };
  return whole ? { ...facts, ...(await inspectFile(path, signal)) } : { ...facts, reason };
}

/** No image's name begins like this. */
const looksLikePath = (text: string) => /^\.{0,2}\//.test(text);

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
