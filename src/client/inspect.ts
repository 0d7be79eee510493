/** What is known of an image without a pull and without Singularity: all of it, parts of it, and the files inside. */
import { SregistryError } from '../base/errors.ts';
import type { Attributes } from '../image/attributes.ts';
import { files } from '../image/image.ts';
import type { Inspection } from '../image/inspect.ts';
import type { Selection } from '../image/inspect-view.ts';
import type { FileEntry } from '../image/squashfs/filesystem.ts';
import { type Facts, findInspectTarget } from './inspect-target.ts';
import type { Session } from './session.ts';

export type { Facts };

/** What is known of an image, and what it says of itself. `text` as {@link findInspectTarget} takes it. */
export async function inspect(session: Session, text: string, signal?: AbortSignal): Promise<Facts> {
  const target = await findInspectTarget(session, text, signal);
  return { ...(await target.facts()), ...(await target.inspection()) };
}

/** What an image says of itself, as `apptainer inspect --json --all` tells it. */
export async function inspectAll(session: Session, text: string, signal?: AbortSignal): Promise<Inspection> {
  const target = await findInspectTarget(session, text, signal);
  const { data, type, unknown } = await target.inspection();
  return { data, type, ...(unknown && { unknown }) };
}

/** What an image says of itself. Throws UNSUPPORTED if one of the selected parts cannot be read. */
export async function inspectParts(
  session: Session,
  text: string,
  { sections, app }: Selection,
  signal?: AbortSignal,
): Promise<Attributes> {
  const target = await findInspectTarget(session, text, signal);
  const { data, unknown } = await target.inspection();
  const wanted = [...(sections.length === 0 ? ['labels'] : sections), ...(app === undefined ? [] : ['apps'])];
  const lacking = unknown?.attributes.filter((name) => wanted.includes(name)) ?? [];
  if (lacking.length === 0) return data.attributes;
  throw new SregistryError(
    'UNSUPPORTED',
    `Cannot read the ${lacking.join(', ')} of ${target.title}. ${unknown?.reason}`,
    { hint: 'Install Apptainer, which can read such a file on this machine' },
  );
}

/**
 * The files inside an image at and below `path`, parents first. Reads only the directories of a remote image. Throws NOT_FOUND,
 * and UNSUPPORTED if only Singularity can look inside.
 */
export async function* listFiles(
  session: Session,
  text: string,
  path?: string,
  signal?: AbortSignal,
): AsyncGenerator<FileEntry> {
  const target = await findInspectTarget(session, text, signal);
  await using source = await target.open();
  yield* files(source, path);
}
