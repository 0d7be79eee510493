/** Child processes that read or write through a mount: started, watched, stopped, killed, and found when they hang. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { DEADLINE, isRunning, type MountPoint } from './rig.ts';

/** Milliseconds for a write with its push. A push may take several deadlines; without an end it is a hang. */
export const WRITE_PATIENCE = 12 * DEADLINE * 1000;

export interface WorkerOptions {
  readonly what: string;
  readonly mount: MountPoint;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds within which it has to say something, or end. */
  readonly patience: number;
  /** May answer since when the worker has been waiting (milliseconds since the epoch), if it is. */
  readonly onLine: (line: string) => number | undefined;
}

export class Worker {
  readonly what: string;
  readonly mount: MountPoint;
  readonly pid: number;
  readonly ended: Promise<void>;
  /** What it wrote on its standard error. */
  stderr = '';
  code: number | null = null;
  killed = false;
  stopped = false;
  hangs = false;
  readonly #child: ChildProcess;
  readonly #patience: number;
  #heard = Date.now();

  constructor({ what, mount, command, args, env, patience, onLine }: WorkerOptions) {
    this.what = what;
    this.mount = mount;
    this.#patience = patience;
    // A process group of its own, so that a script is killed with what it runs.
    const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.pid = child.pid ?? 0;
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#heard = onLine(line) ?? Date.now();
    });
    child.stderr.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.ended = once(child, 'close').then(([code]) => {
      this.code = code;
    });
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.isRunning) return;
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.killed = true;
    if (signal === 'SIGSTOP') this.stopped = true;
    if (signal === 'SIGCONT') {
      this.stopped = false;
      this.#heard = Date.now();
    }
    try {
      process.kill(-this.pid, signal);
    } catch {
      // It ended just now.
    }
  }

  /** Milliseconds for which it has neither said anything nor been held up by us. */
  get silence(): number {
    if (!this.isRunning || this.stopped || this.mount.stopped) return 0;
    return Date.now() - Math.max(this.#heard, this.mount.disturbed);
  }

  get isSilentTooLong(): boolean {
    return !this.hangs && this.silence > this.#patience;
  }

  /** Where in the kernel its processes are, for a report. */
  whereabouts(): string {
    return groupOf(this.pid)
      .flatMap((pid) => {
        const files = ['comm', 'wchan', 'syscall', 'stack'].map((file) =>
          readOptional(`/proc/${pid}/${file}`),
        );
        return [`${pid}: ${files.map((text) => text.trim().replaceAll('\n', ' < ')).join(' | ')}`];
      })
      .join('; ');
  }
}

/** Living processes of a process group. */
function groupOf(group: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && isRunning(pid))
    .filter((pid) => {
      const stat = readOptional(`/proc/${pid}/stat`);
      // proc(5): behind the command's name stand state, parent and process group.
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) === group;
    });
}

function readOptional(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
