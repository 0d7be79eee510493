/**
 * Who uses a mount, for people: processes that have a file open, mapped or run, or that work in a folder; loop devices; other
 * mounts. All of it is read from /proc and /sys, without touching the mount itself, so it also works on a mount that does not
 * answer. Only root sees processes of other users. The kernel decides whether a mount can be unmounted; this module only finds
 * the names.
 *
 * In this process's mount namespace, a path below the mount point shows use. In another namespace (a container) the mount may
 * lie elsewhere, so the number of the file system (major:minor) shows use.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { SregistryError } from '../base/errors.ts';
import { type MountEntry, mountTable } from './mountpoint.ts';

/** Number of used paths that a message names. */
const NAMED = 10;

/** How something uses a path of the mount. `on` is a device, or where the other mount is. */
export type Use =
  | { readonly how: ProcessUse; readonly by: Holder }
  | { readonly how: 'loop device'; readonly on: string }
  | { readonly how: 'mount'; readonly on: string };

type ProcessUse = 'open' | 'mapped' | 'working directory' | 'root directory';

export interface Holder {
  readonly pid: number;
  readonly command: string;
}

/** A path in the mount, beginning with `/`. */
export interface OpenPath {
  readonly path: string;
  /** Was it opened on a file being written? */
  readonly writing: boolean;
}

/** `uses` is empty for an open path whose users cannot be seen. */
export interface UsedPath extends OpenPath {
  readonly uses: readonly Use[];
}

/** What a forced end cut off: paths that were used, and URIs of pushes that stay in the journal. */
export interface Cut {
  readonly files: readonly UsedPath[];
  readonly pushes: readonly string[];
}

/** `/lab/tool:1.0.simg (being written): open in cp (process 12)` */
export function describeUsed({ path, writing, uses }: UsedPath): string {
  const what = writing ? `${path} (being written)` : path;
  return `${what}: ${uses.length === 0 ? 'open' : uses.map(describeUse).join(', ')}`;
}

function describeUse(use: Use): string {
  if (use.how === 'loop device') return `attached to ${use.on}`;
  if (use.how === 'mount') return `mounted at ${use.on}`;
  const who = `${use.by.command} (process ${use.by.pid})`;
  if (use.how === 'open') return `open in ${who}`;
  if (use.how === 'mapped') return `run or mapped by ${who}`;
  return `${use.how} of ${who}`;
}

/** Is any user of these paths visible? */
export function isHeld(used: readonly UsedPath[]): boolean {
  return used.some(({ uses }) => uses.length > 0);
}

/** The error BUSY, which names what is used. */
export function inUse(mountpoint: string, used: readonly UsedPath[]): SregistryError {
  const names = used.slice(0, NAMED).map(describeUsed);
  if (used.length > NAMED) names.push(`and ${used.length - NAMED} more`);
  // Processes of other users are not seen.
  if (names.length === 0) names.push('its users cannot be seen');
  return new SregistryError('BUSY', `${mountpoint} is in use and stays mounted: ${names.join('; ')}`, {
    hint: `Close what is open and try again, or cut it off: sregistry unmount --force ${mountpoint}`,
  });
}

/** The paths of the mount that are in use. `open`: the paths that its process has open. */
export async function usedPaths(mountpoint: string, open: readonly OpenPath[]): Promise<UsedPath[]> {
  const used = new Map<string, UsedPath & { uses: Use[] }>();
  for (const { path, writing } of open)
    used.set(path, { path, writing: writing || used.get(path)?.writing === true, uses: [] });
  for (const { path, use } of await findUses(mountpoint)) {
    const known = used.get(path);
    if (known === undefined) used.set(path, { path, writing: false, uses: [use] });
    else known.uses.push(use);
  }
  return [...used.values()];
}

interface Found {
  readonly path: string;
  readonly use: Use;
}

async function findUses(mountpoint: string): Promise<Found[]> {
  const mount = await MountLocation.of(mountpoint);
  const found = [...mount.otherMounts(), ...(await loopDevices(mount))];
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    // The process ended meanwhile, or belongs to another user.
    if (pid > 0 && pid !== process.pid) found.push(...(await usesOf(pid, mount).catch(() => [])));
  }
  return found;
}

/** Where the mount lies, in this mount namespace and in others. */
class MountLocation {
  readonly #mountpoint: string;
  readonly #table: readonly MountEntry[];
  readonly #own: MountEntry | undefined;
  readonly #namespace: string;

  private constructor(mountpoint: string, table: readonly MountEntry[], namespace: string) {
    this.#mountpoint = mountpoint;
    this.#table = table;
    this.#own = table.findLast(({ path }) => path === mountpoint);
    this.#namespace = namespace;
  }

  static async of(mountpoint: string): Promise<MountLocation> {
    return new MountLocation(mountpoint, await mountTable(), await readlink('/proc/self/ns/mnt'));
  }

  get device(): string | undefined {
    return this.#own?.device;
  }

  /** The path in the mount of one in this mount namespace; undefined if it is not below the mount point. */
  within(path: string): string | undefined {
    if (path === this.#mountpoint) return '/';
    return path.startsWith(`${this.#mountpoint}/`) ? path.slice(this.#mountpoint.length) : undefined;
  }

  /** Mounts on folders of the mount, and parts of it that are mounted elsewhere. */
  otherMounts(): Found[] {
    return this.#table
      .filter((entry) => entry !== this.#own)
      .flatMap(({ device, root, path }) => {
        const used = device === this.device ? root : this.within(path);
        return used === undefined || used === '/' ? [] : [{ path: used, use: { how: 'mount', on: path } }];
      });
  }

  /** Where the mount lies for a process in another mount namespace, this one's included; undefined for one in this. */
  async elsewhere(pid: number): Promise<MountEntry[] | undefined> {
    if ((await readlink(`/proc/${pid}/ns/mnt`)) === this.#namespace) return undefined;
    const entries = (await mountTable(pid)).filter(({ device }) => device === this.device);
    return this.#own === undefined ? entries : [...entries, this.#own];
  }
}

/** Images that the kernel itself mounts; losetup(8) shows the same. */
async function loopDevices(mount: MountLocation): Promise<Found[]> {
  const found: Found[] = [];
  for (const name of await readdir('/sys/block').catch(() => [])) {
    if (!name.startsWith('loop')) continue;
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    const path = mount.within(file.trimEnd());
    if (path !== undefined) found.push({ path, use: { how: 'loop device', on: `/dev/${name}` } });
  }
  return found;
}

async function usesOf(pid: number, mount: MountLocation): Promise<Found[]> {
  const command = (await readFile(`/proc/${pid}/comm`, 'utf8')).trimEnd();
  const elsewhere = await mount.elsewhere(pid);
  const found = new Map<string, Found>();
  const add = (path: string | undefined, how: ProcessUse) => {
    if (path !== undefined && !found.has(path)) found.set(path, { path, use: { how, by: { pid, command } } });
  };
  const linked = (name: string) => readlink(`/proc/${pid}/${name}`).catch(() => '');
  const folder = (path: string) =>
    elsewhere === undefined
      ? mount.within(path)
      : elsewhere.map((entry) => below(entry, path)).find((inside) => inside !== undefined);

  for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
    const target = await linked(`fd/${descriptor}`);
    if (elsewhere === undefined) add(mount.within(target), 'open');
    else add(await pathElsewhere(pid, descriptor, target, elsewhere), 'open');
  }
  for (const path of await mappedPaths(pid, mount)) add(path, 'mapped');
  add(folder(await linked('cwd')), 'working directory');
  add(folder(await linked('root')), 'root directory');
  return [...found.values()];
}

/** The path in the mount of an open file of a process in another mount namespace: there the same path may be another file. */
async function pathElsewhere(pid: number, descriptor: string, target: string, elsewhere: MountEntry[]) {
  if (!target.startsWith('/')) return undefined;
  const info = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(() => '');
  const entry = elsewhere.find(({ id }) => id === /^mnt_id:\s*(\d+)$/m.exec(info)?.[1]);
  return entry && (below(entry, target) ?? target);
}

/** The path in the file system of one that lies on or below where the entry is mounted. */
function below({ root, path }: MountEntry, target: string): string | undefined {
  if (target !== path && !target.startsWith(`${path}/`)) return undefined;
  return `${root === '/' ? '' : root}${target.slice(path.length)}` || '/';
}

/** A line of /proc/<pid>/maps, see proc(5): addresses, permissions, offset, device in hexadecimal, inode, path. */
const MAPPING = /^\S+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) \d+ +(\/.*)$/gm;

async function mappedPaths(pid: number, mount: MountLocation): Promise<string[]> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8');
  const paths = new Set<string>();
  for (const [, major = '', minor = '', path = ''] of maps.matchAll(MAPPING)) {
    const device = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`;
    if (device === mount.device) paths.add(mount.within(path) ?? path);
  }
  return [...paths];
}
