/** What is known of an image: a file on this machine, an image of a backend, or one of the library. */
import { stat } from 'node:fs/promises';
import { sha256File } from '../base/hash.ts';
import { inspect as inspectSource } from '../image/inspect.ts';
import { uriScheme } from '../image/names.ts';
import { openFileSource } from '../image/source.ts';
import { identifyFile } from './image-file.ts';
import type { Session } from './session.ts';
import { findImage, parseTarget } from './target.ts';

export type Facts = Readonly<Record<string, unknown>>;

/**
 * `text` is the path of a file that exists, a URI, or else a name: of the library's image where there is one, of the active
 * backend's where not.
 */
export async function inspect(session: Session, text: string, signal?: AbortSignal): Promise<Facts> {
  if (uriScheme(text) !== undefined) return inspectRemote(session, text, signal);
  if (await isFile(text)) return inspectFile(text, signal);
  if (session.library.get(text) !== undefined) return { ...session.library.inspect(text) };
  return inspectRemote(session, text, signal);
}

async function inspectRemote(session: Session, text: string, signal?: AbortSignal): Promise<Facts> {
  const target = await parseTarget(text, session);
  return session.inspect(target.backend, await findImage(session, target, signal));
}

async function inspectFile(path: string, signal?: AbortSignal): Promise<Facts> {
  const { kind, size, length, whole, reason } = await identifyFile(path);
  const digest = await sha256File(path, { signal });
  const facts = { path, kind, size, length, whole, digest };
  if (!whole) return { ...facts, reason };
  await using source = await openFileSource(path);
  return { ...facts, ...(await inspectSource(source)) };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
