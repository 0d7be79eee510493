/**
 * The options of `mount -o`, as mount(8) and fstab(5) pass them: the flags of `sregistry mount` by their names
 * (`cache_size=50G`, with `_` or `-`), FUSE's own options, and words that only concern who mounts and when. Of two options that
 * contradict each other the later one counts, as for mount(8).
 */
import { SregistryError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';

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
  readonly cacheDir?: string | undefined;
  readonly cacheSize?: string | undefined;
  readonly cacheMinFree?: string | undefined;
  /** Path of the file with the settings of backends. */
  readonly config?: string | undefined;
  readonly ext?: string | undefined;
  readonly arch?: string | undefined;
  readonly ttl?: string | undefined;
  readonly pushWait?: string | undefined;
  /** One of LOG_FORMATS. */
  readonly logFormat?: string | undefined;
  /** For FUSE, as they are. */
  readonly fuseOptions?: readonly string[] | undefined;
}

const SWITCHES = {
  ro: { readOnly: true },
  rw: { readOnly: false },
  read_only: { readOnly: true },
  allow_other: { allowOther: true },
  allow_delete: { allowDelete: true },
  no_overwrite: { noOverwrite: true },
  no_xattrs: { noXattrs: true },
  offline: { offline: true },
} as const satisfies Record<string, MountFlags>;

const VALUES = {
  arch: 'arch',
  cache_dir: 'cacheDir',
  cache_size: 'cacheSize',
  cache_min_free: 'cacheMinFree',
  config: 'config',
  ext: 'ext',
  log_format: 'logFormat',
  push_wait: 'pushWait',
  require_signed: 'requireSigned',
  ttl: 'ttl',
} as const;

/** What FUSE gets, and what takes it back. `suid` and `dev` change nothing beyond that: FUSE mounts are nosuid and nodev. */
const FOR_FUSE: Readonly<Record<string, string>> = {
  noexec: 'exec',
  nosuid: 'suid',
  nodev: 'dev',
  noatime: 'atime',
};
const TAKEN_BACK = new Map(Object.entries(FOR_FUSE).map(([option, opposite]) => [opposite, option]));

/** The names of the options that take no value, that need one, and that FUSE gets. */
export const SWITCH_OPTIONS: readonly string[] = Object.keys(SWITCHES);
export const VALUE_OPTIONS: readonly string[] = [...Object.keys(VALUES), 'backend'];
export const FUSE_OPTIONS: readonly string[] = Object.keys(FOR_FUSE);

/**
 * mount(8), fstab(5) and systemd.mount(5): when and by whom it is mounted, what is the default anyway, and what a file system
 * without times of access or writes of its own has no use for.
 */
const IGNORED = new Set(
  (
    'defaults async sync dirsync auto noauto user nouser users nousers owner noowner group nogroup nofail _netdev silent loud ' +
    'relatime norelatime strictatime nostrictatime lazytime nolazytime diratime nodiratime iversion noiversion mand nomand'
  ).split(' '),
);
const IGNORED_PREFIX = /^(?:[xX]-|comment=|user=|uhelper=|helper=)/;

/** Options that other file systems have, and what to do here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  uid: 'The files belong to the user who mounts. Mount as that user; allow_other lets the others in',
  gid: 'The files belong to the user who mounts. Mount as that user; allow_other lets the others in',
  umask: 'Images are 0755, or 0555 if the mount is read-only; noexec takes the right to execute them',
  remount: 'Unmount and mount again',
};

/** Throws USAGE for an unknown option, and for an option without its value. */
export function parseMountOptions(lists: readonly string[]): MountFlags {
  const flags: Record<string, string | boolean> = {};
  const backend: string[] = [];
  const forFuse = new Set<string>();
  for (const option of lists.flatMap((list) => list.split(',')).filter(Boolean)) {
    const [, name = '', value] = /^([^=]*)(?:=(.+))?$/s.exec(option) ?? [];
    const key = name.replaceAll('-', '_');
    if (IGNORED.has(option) || IGNORED_PREFIX.test(option)) continue;
    if (Object.hasOwn(FOR_FUSE, option)) forFuse.add(option);
    else if (TAKEN_BACK.has(option)) forFuse.delete(TAKEN_BACK.get(option) as string);
    else if (key === 'backend' && value !== undefined) backend.push(value);
    else if (isKey(SWITCHES, key) && value === undefined && !option.includes('='))
      Object.assign(flags, SWITCHES[key]);
    else if (isKey(VALUES, key) && value !== undefined) flags[VALUES[key]] = value;
    else throw unusable(option, key);
  }
  return { ...flags, ...(backend.length > 0 && { backend }), fuseOptions: [...forFuse] };
}

function isKey<T extends object>(table: T, key: string): key is keyof T & string {
  return Object.hasOwn(table, key);
}

function unusable(option: string, key: string): SregistryError {
  const refuse = (what: string, hint: string) =>
    new SregistryError('USAGE', `-o ${option}: ${what}`, { hint });
  if (isKey(SWITCHES, key)) return refuse(`${key} takes no value`, `Write ${key}`);
  if (isKey(VALUES, key) || key === 'backend') return refuse(`${key} needs a value`, `Write ${key}=...`);
  if (isKey(ELSEWHERE, key)) return refuse('sregistry has no such mount option', ELSEWHERE[key] as string);
  const own = [...SWITCH_OPTIONS, ...VALUE_OPTIONS];
  const meant = nearest(key, [...own, ...FUSE_OPTIONS, ...TAKEN_BACK.keys(), ...IGNORED]);
  const known = [...SWITCH_OPTIONS, ...VALUE_OPTIONS.map((each) => `${each}=...`), ...FUSE_OPTIONS];
  return refuse(
    'sregistry has no such mount option',
    `${meant === undefined ? '' : `Did you mean ${meant}? `}The mount options are ${known.join(', ')}`,
  );
}
