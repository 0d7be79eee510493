/** A home folder of its own, in which `sregistry` of this checkout runs. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isMounted } from '../src/fs/mountpoint.ts';

const SREGISTRY = join(import.meta.dirname, '../bin/sregistry.js');
/** Milliseconds that a command may take. */
const LIMIT = 600_000;

export class Home implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'sregistry-bench-'));
  readonly mountpoint = join(this.path, 'mnt');

  readonly env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    HOME: this.path,
    XDG_RUNTIME_DIR: this.path,
    LC_ALL: 'C.UTF-8',
  };

  /** Runs a command to its end, and returns what it printed. */
  async run(command: string, ...args: string[]): Promise<string> {
    const options = { env: this.env, timeout: LIMIT, maxBuffer: 1 << 26 };
    return (await promisify(execFile)(command, args, options)).stdout;
  }

  sregistry(...args: string[]): Promise<string> {
    return this.run(process.execPath, SREGISTRY, ...args);
  }

  /** Mounts with room for everything, and with tags that are trusted for as long as a benchmark runs. */
  async mount(): Promise<void> {
    await this.sregistry(
      'mount',
      this.mountpoint,
      '--ttl',
      '1h',
      '--cache-size',
      '20G',
      '--cache-min-free',
      '0',
    );
  }

  async unmount(): Promise<void> {
    if (await isMounted(this.mountpoint)) await this.sregistry('unmount', this.mountpoint);
  }

  /** Mounts anew, without anything that was cached or remembered. */
  async mountEmpty(): Promise<void> {
    await this.unmount();
    rmSync(join(this.path, '.cache'), { recursive: true, force: true });
    await this.mount();
  }

  /** The most memory that the process of the mount had, in bytes. */
  peakMemory(): number {
    return Number(/VmHWM:\s+(\d+)/.exec(this.#proc('status'))?.[1]) * 1024;
  }

  /** Milliseconds for which the thread that answers the kernel was busy so far. */
  busyTime(): number {
    const pid = this.#mountPid();
    const [nanoseconds] = this.#proc(`task/${pid}/schedstat`).split(' ');
    return Number(nanoseconds) / 1e6;
  }

  #proc(name: string): string {
    return readFileSync(`/proc/${this.#mountPid()}/${name}`, 'utf8');
  }

  #mountPid(): number {
    const [record = ''] = readdirSync(join(this.path, 'sregistry')).filter((name) => name.endsWith('.json'));
    return JSON.parse(readFileSync(join(this.path, 'sregistry', record), 'utf8')).pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount().catch(() => {});
    if (await isMounted(this.mountpoint)) await this.run('fusermount3', '-uz', this.mountpoint);
    rmSync(this.path, { recursive: true, force: true, maxRetries: 3 });
  }
}
