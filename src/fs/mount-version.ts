/** A mount goes on with the sregistry that started it, also when a newer one is installed. */
import { version } from '../base/version.ts';
import type { MountStatus } from './control.ts';

/** What to do if another version than this one serves the mount; undefined if it is this one. */
export function outdated({ mountpoint, version: serving }: MountStatus): string | undefined {
  if (serving === version) return undefined;
  const other = serving === undefined ? 'an unknown version' : `version ${serving}`;
  return (
    `${other} of sregistry serves ${mountpoint}; this command is ${version}. ` +
    `Change over with: sregistry unmount ${mountpoint} && sregistry mount ${mountpoint}`
  );
}
