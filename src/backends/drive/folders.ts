/**
 * The folders of images. All are below one root: the folder that `folder` names by id, else the one called `root`, wherever it lies, as
 * the Python client looks for it. In My Drive it must be the user's own, because anybody can share a folder of that name
 * with the user.
 *
 * Two processes may create the same folder at once, as Drive lets names repeat. The oldest folder of a name counts, so that both use
 * the same one.
 */
import { SregistryError } from '../../base/errors.ts';
import { createPathIds, type PathIds } from '../kit/path-ids.ts';
import type { Drive, DriveContext } from './drive.ts';
import { type DriveFile, FOLDER, isIn, isNamed, quoted } from './files.ts';

/** The path of the root for {@link PathIds}, whose own root stands for the whole drive. */
const ROOT = 'root';
const WHOLE_DRIVE = '';

export interface Folders extends Pick<PathIds, 'ensure' | 'using'> {
  /** Id of the root; undefined if it does not exist yet. */
  root(signal?: AbortSignal): Promise<string | undefined>;
}

/** The functions take the path of a folder below the root: `''`, `a/`, `a/b/`. */
export function createFolders(drive: Drive, { name: instance, options }: DriveContext): Folders {
  const { folder, root = 'sregistry' } = options;

  const findRoot = async (signal: AbortSignal): Promise<string | undefined> => {
    if (folder !== undefined) {
      const found = await drive.get(folder, signal);
      if (found?.isFolder) return folder;
      throw new SregistryError(
        'SETTINGS',
        `${instance}: there is no folder ${folder} that this login can see`,
        {
          hint: 'check the option folder, and that the folder is shared with this account',
        },
      );
    }
    const isRoot = `mimeType = ${quoted(FOLDER)} and ${isNamed([root])} and trashed = false`;
    const all = await drive.find(isRoot, signal);
    const there = all.filter(({ sharedDrive }) => sharedDrive === drive.sharedDrive);
    if (drive.sharedDrive !== undefined) return oldest(there, root);
    const own = oldest(
      there.filter(({ isOwn }) => isOwn),
      root,
    );
    const foreign = oldest(there, root);
    if (own !== undefined || foreign === undefined) return own;
    throw new SregistryError('SETTINGS', `${instance}: the only folder called ${root} is somebody else's`, {
      hint: `if you trust its owner: sregistry backend add ${instance} folder=${foreign}. Else choose another name: root=NAME`,
    });
  };

  const find = async (parent: string, name: string, signal: AbortSignal): Promise<string | undefined> => {
    if (parent === WHOLE_DRIVE) return findRoot(signal);
    const q = `${isIn(parent)} and mimeType = ${quoted(FOLDER)} and ${isNamed([name])}`;
    return oldest(await drive.find(q, signal), name);
  };

  const create = async (parent: string, name: string, signal: AbortSignal): Promise<string> => {
    const isRoot = parent === WHOLE_DRIVE;
    const parents = isRoot ? [drive.sharedDrive ?? 'root'] : [parent];
    const json = { name: isRoot ? root : name, mimeType: FOLDER, parents };
    const { id } = await drive.ask('POST', '', { json, signal });
    const counting = (await find(parent, name, signal)) ?? id;
    if (counting !== id) await drive.ask('PATCH', `/${id}`, { json: { trashed: true }, signal });
    return counting;
  };

  const ids = createPathIds({ root: WHOLE_DRIVE, find, create });
  const pathOf = (path: string) => `${ROOT}/${path}`.replace(/\/$/, '');
  return {
    root: (signal) => ids.find(ROOT, signal),
    ensure: (path, signal) => ids.ensure(pathOf(path), signal),
    using: (path, act, signal) => ids.using(pathOf(path), act, signal),
  };
}

/** The id of the oldest folder of exactly this name. */
function oldest(files: readonly DriveFile[], name: string): string | undefined {
  const folders = files.filter((file) => file.isFolder && file.name === name);
  return folders.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))[0]?.id;
}
