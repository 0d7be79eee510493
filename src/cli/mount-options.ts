/**
 * The options of `mount -o`, as mount(8) and fstab(5) pass them: the flags of `sregistry mount` by their names
 * (`cache_size=50G`, with `_` or `-`), FUSE's own options, and words that only concern who mounts and when.
 */
import { SregistryError } from '../base/errors.ts';

export interface MountFlags {
  readonly backend?: readonly string[] | undefined;
  readonly readOnly?: boolean | undefined;
  readonly allowOther?: boolean | undefined;
  readonly allowDelete?: boolean | undefined;
  readonly noOverwrite?: boolean | undefined;
  readonly noXattrs?: boolean | undefined;
  /** Path of a key ring. */
  readonly requireSigned?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly cacheSize?: string | undefined;
  readonly cacheMinFree?: string | undefined;
  readonly ext?: string | undefined;
  readonly arch?: string | undefined;
  readonly ttl?: string | undefined;
  /** For FUSE, as they are. */
  readonly fuseOptions?: readonly string[] | undefined;
}

const SWITCHES = {
  ro: 'readOnly',
  read_only: 'readOnly',
  allow_other: 'allowOther',
  allow_delete: 'allowDelete',
  no_overwrite: 'noOverwrite',
  no_xattrs: 'noXattrs',
  offline: 'offline',
} as const;

const VALUES = {
  arch: 'arch',
  cache_size: 'cacheSize',
  cache_min_free: 'cacheMinFree',
  ext: 'ext',
  require_signed: 'requireSigned',
  ttl: 'ttl',
} as const;

const FOR_FUSE = new Set(['nosuid', 'nodev', 'noexec', 'noatime']);

/** fstab(5) and systemd.mount(5): when and by whom it is mounted, or the default anyway. */
const IGNORED = new Set(
  'defaults rw exec async auto noauto user nouser users owner group nofail _netdev'.split(' '),
);
const IGNORED_PREFIX = /^(?:x-|comment=)/;

/** Throws USAGE for an unknown option, and for an option without its value. */
export function parseMountOptions(lists: readonly string[]): MountFlags {
  const flags: Record<string, string | boolean> = {};
  const backend: string[] = [];
  const fuseOptions: string[] = [];
  for (const option of lists.flatMap((list) => list.split(',')).filter(Boolean)) {
    if (IGNORED.has(option) || IGNORED_PREFIX.test(option)) continue;
    const [, name = '', value] = /^([^=]*)(?:=(.+))?$/s.exec(option) ?? [];
    const key = name.replaceAll('-', '_');
    if (FOR_FUSE.has(option)) fuseOptions.push(option);
    else if (key === 'backend' && value !== undefined) backend.push(value);
    else if (isKey(SWITCHES, key) && value === undefined) flags[SWITCHES[key]] = true;
    else if (isKey(VALUES, key) && value !== undefined) flags[VALUES[key]] = value;
    else throw unknownOption(option);
  }
  return { ...flags, ...(backend.length > 0 && { backend }), fuseOptions };
}

function isKey<T extends object>(table: T, key: string): key is keyof T & string {
  return Object.hasOwn(table, key);
}

function unknownOption(option: string): SregistryError {
  const known = [...Object.keys(SWITCHES), ...[...Object.keys(VALUES), 'backend'].map((key) => `${key}=...`)];
  return new SregistryError('USAGE', `-o ${option} is not a mount option`, {
    hint: `The mount options are ${[...known, ...FOR_FUSE].join(', ')}`,
  });
}
