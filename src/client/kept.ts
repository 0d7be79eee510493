/**
 * Files that were written into a mount and not pushed. Their owner decides whether to push them as they are or to drop them. A
 * running mount owns its files; these functions take only files that no process works on.
 */
import { basename } from 'node:path';
import type { Progress } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { ownProcess } from '../base/process.ts';
import type { PushRecord } from '../catalog/push-record.ts';
import { removeStaged } from '../catalog/staged-note.ts';
import { parseFileName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { requireWholeImage } from './image-file.ts';
import { adoptPublished, publish } from './publish.ts';
import type { Session } from './session.ts';
import { parseTarget } from './target.ts';

/** A record with a staged file. */
export type Kept = PushRecord & { readonly staged: string };

/** Files that are not pushed, oldest first. With `uri`, only those for it; throws NOT_FOUND if there are none. */
export function listKept(session: Session, uri?: string): Kept[] {
  const all = session.state.journal.list().filter((record): record is Kept => record.staged !== undefined);
  if (uri === undefined) return all;
  const named = all.filter((record) => record.uri === uri);
  if (named.length > 0) return named;
  throw new SregistryError('NOT_FOUND', `No file is kept for ${uri}`, {
    hint: 'sregistry status lists the kept files',
  });
}

/** Is a living process, usually a mount, working on it? */
export function isTaken({ state }: Session, { id }: Kept): boolean {
  return state.journal.adopt(id, ownProcess()) === undefined;
}

/**
 * Pushes a file that nobody works on, as it is. Throws NOT_AN_IMAGE if its header says that it is not whole, INVALID_NAME if its
 * name is not one of an image.
 */
export async function pushKept(
  session: Session,
  { id, uri, path, staged }: Kept,
  { progress, signal }: { progress?: Progress | undefined; signal?: AbortSignal | undefined } = {},
): Promise<RemoteImage> {
  const file = parseFileName(basename(path));
  if (file === undefined) {
    throw new SregistryError('INVALID_NAME', `${path} is not the file name of an image`, {
      hint: `Push the file itself: sregistry push ${staged} --name BACKEND://COLLECTION/IMAGE:TAG`,
    });
  }
  const { size } = await requireWholeImage(staged);
  const { backend, name } = await parseTarget(uri, session);
  const { extension } = file;
  const request = { backend: backend.name, name, extension, file: staged, size, progress, signal };
  const image = await publish(session, request);
  session.state.journal.remove(id);
  await adoptPublished(session, backend.name, image, staged);
  await removeStaged(staged);
  return image;
}

/** Removes a file that nobody works on. */
export async function dropKept(session: Session, { id, staged }: Kept): Promise<void> {
  session.state.journal.remove(id);
  await removeStaged(staged);
}
