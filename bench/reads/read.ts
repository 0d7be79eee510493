/**
 * `node bench/reads/read.ts [--mebibytes 700] [--rounds 3]`: what reading an image costs, in turns, through a mount of sregistry, a mount
 * of rclone (cache mode full), a bare mount of fuse-native, and as a local file. sregistry gets the image from a registry on this machine,
 * rclone from a web folder. Prints a table of medians; each cell also has the smallest and the largest value.
 */
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { startRegistry } from '../../test/servers/docker-registry.ts';
import { Bytes } from '../../test/torture/content.ts';
import { MountPoint, Rig } from '../../test/torture/rig.ts';
import { ociService } from '../../test/torture/services.ts';
import { Table } from './table.ts';
import { startWebFolder } from './web-folder.ts';

const { values } = parseArgs({
  options: {
    mebibytes: { type: 'string', default: '700' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
});
const SIZE = Number(values.mebibytes) * 1024 * 1024;
const ROUNDS = Number(values.rounds);
/** Seconds of each run of random reads. */
const RANDOM = 2;
const READER = join(import.meta.dirname, 'reader.ts');

const run = promisify(execFile);
const wants = (part: string) => values.only === '' || values.only.split(',').includes(part);

async function read(...args: (string | number)[]): Promise<number> {
  const { stdout } = await run(process.execPath, [READER, ...args.map(String)], { timeout: 120_000 });
  return JSON.parse(stdout);
}

/** Takes the pages of a file out of memory (posix_fadvise with POSIX_FADV_DONTNEED, which GNU dd does for `nocache`). */
async function dropPages(...files: string[]): Promise<void> {
  for (const file of files) {
    await run('sync', ['-d', file]).catch(() => {});
    await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
  }
}

/** Seconds of processor time that a process has used. The kernel counts 100 ticks in a second (USER_HZ). */
function cpuSeconds(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [utime = 0, stime = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (utime + stime) / 100;
}

/** Measures with `measure`, and notes the processor time that the process `pid` used meanwhile. */
async function noted(
  row: string,
  name: string,
  pid: number | undefined,
  unit: string,
  measure: () => Promise<number>,
): Promise<void> {
  const before = pid === undefined ? 0 : cpuSeconds(pid);
  const value = await measure();
  table.add(row, name, value, unit);
  if (pid === undefined) return;
  const used = cpuSeconds(pid) - before;
  if (unit === 's') table.add(`${row}: processor time`, name, used, 's');
  else table.add(`${row}: processor time of a read`, name, (used * 1e6) / (value * RANDOM), 'µs');
}

const residentMebibytes = (pid: number | undefined, what: 'VmRSS' | 'VmHWM') =>
  Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

const rig = new Rig();
rig.limits = { size: 4 * SIZE, minFree: 0 };
const registry = await startRegistry({ record: false });
const table = new Table();
const mount = new MountPoint(rig, 'mnt', []);
const others: { child: ChildProcess; mountpoint: string }[] = [];

async function end({ child, mountpoint }: { child: ChildProcess; mountpoint: string }): Promise<void> {
  const ended = once(child, 'exit');
  await run('fusermount3', ['-uz', mountpoint]);
  child.kill('SIGTERM');
  await ended;
}

try {
  const bytes = Buffer.concat([...new Bytes('bench').pieces({ id: 1, size: SIZE })]);
  const local = join(rig.home, 'local.sif');
  writeFileSync(local, bytes);
  const service = ociService(registry.url, 'lab');
  await service.put('image', bytes);
  const web = await startWebFolder(rig.home, local);
  try {
    await rig.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`);
    if (wants('cold')) await cold(web.url);
    await cached(web.url, local);
  } finally {
    await web.stop();
  }
  console.log(table.toString());
} finally {
  for (const other of others) await end(other);
  await mount.unmount('--force');
  await mount.destroy();
  await registry.remove();
  rig.remove();
}

async function mountOurs(): Promise<string> {
  const { code, stderr } = await mount.mount();
  if (code !== 0) throw new Error(`mount ended with ${code}: ${stderr}`);
  return join(mount.path, 'lab/demo/image:1.sif');
}

async function unmountOurs(): Promise<void> {
  const { code, stderr } = await mount.unmount();
  if (code !== 0) throw new Error(`unmount ended with ${code}: ${stderr}`);
  await mount.ended();
}

async function mountRclone(url: string): Promise<string> {
  const mountpoint = join(rig.home, 'rclone');
  mkdirSync(mountpoint, { recursive: true });
  const child = spawn(
    'rclone',
    ['mount', `:http,url='${url}/':`, mountpoint, '--vfs-cache-mode', 'full', '--read-only'],
    { env: { ...rig.env, XDG_CACHE_HOME: join(rig.home, 'rclone-cache') }, stdio: 'ignore' },
  );
  others.push({ child, mountpoint });
  const file = join(mountpoint, 'image.sif');
  for (let tries = 0; !existsSync(file); tries += 1) {
    if (tries > 100) throw new Error('rclone did not mount');
    await sleep(100);
  }
  return file;
}

async function mountBare(local: string): Promise<string> {
  const mountpoint = join(rig.home, 'bare');
  mkdirSync(mountpoint, { recursive: true });
  const child = fork(join(import.meta.dirname, 'bare.ts'), [mountpoint, local]);
  others.push({ child, mountpoint });
  await once(child, 'message');
  return join(mountpoint, 'image.sif');
}

async function endLast(): Promise<void> {
  const other = others.pop();
  if (other !== undefined) await end(other);
}

/** The whole image, with nothing of it on this machine. */
async function cold(url: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    rmSync(rig.cache, { recursive: true, force: true });
    rmSync(join(rig.home, 'rclone-cache'), { recursive: true, force: true });
    const ours = await mountOurs();
    await noted('cold, whole', 'sregistry', mount.pid, 's', () => read('sequential', ours));
    table.add('largest RSS after it', 'sregistry', residentMebibytes(mount.pid, 'VmHWM'), 'MiB');
    await unmountOurs();
    const rclone = await mountRclone(url);
    await noted('cold, whole', 'rclone', others.at(-1)?.child.pid, 's', () => read('sequential', rclone));
    table.add('largest RSS after it', 'rclone', residentMebibytes(others.at(-1)?.child.pid, 'VmHWM'), 'MiB');
    await endLast();
    rmSync(join(rig.home, 'curl'), { force: true });
    const began = performance.now();
    await run('curl', ['-s', '-o', join(rig.home, 'curl'), `${url}/image.sif`]);
    table.add('cold, whole', 'curl', (performance.now() - began) / 1000, 's');
  }
}

/** With the whole image in the cache. */
async function cached(url: string, local: string): Promise<void> {
  const ours = await mountOurs();
  const bare = await mountBare(local);
  const rclone = await mountRclone(url);
  const [barePid, rclonePid] = others.map(({ child }) => child.pid);
  const contestants = [
    { name: 'sregistry', file: ours, pid: mount.pid, under: () => dataFiles(rig.cache) },
    { name: 'rclone', file: rclone, pid: rclonePid, under: () => dataFiles(join(rig.home, 'rclone-cache')) },
    { name: 'bare', file: bare, pid: barePid, under: () => [local] },
    { name: 'local', file: local, pid: undefined, under: () => [] },
  ];
  for (const { file } of contestants) await read('sequential', file);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { name, file, pid, under } of contestants) {
      const sequential = (row: string) => noted(row, name, pid, 's', () => read('sequential', file));
      const random = (row: string, readers: number) =>
        noted(row, name, pid, '/s', () => read('random', file, readers, RANDOM));
      if (wants('again')) {
        await read('sequential', file);
        await sequential('again, pages in memory');
      }
      if (wants('dropped')) {
        await dropPages(file, ...under());
        await sequential('cached, all pages dropped');
      }
      if (wants('mount')) {
        await dropPages(file);
        await sequential('cached, pages of the mount dropped');
      }
      for (const readers of wants('random') ? [1, 4] : []) {
        await dropPages(file, ...under());
        await random(`random 4 KiB, ${readers} readers, all pages dropped`, readers);
        if (name === 'local') continue;
        await Promise.all(under().map((each) => read('sequential', each)));
        await dropPages(file);
        await random(`random 4 KiB, ${readers} readers, pages of the mount dropped`, readers);
      }
    }
  }
  table.add('RSS at the end', 'sregistry', residentMebibytes(mount.pid, 'VmRSS'), 'MiB');
}

/** The largest files below a cache directory: image bytes. */
function dataFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && (entry.name === 'data' || entry.name.startsWith('image')))
    .map((entry) => join(entry.parentPath, entry.name));
}
