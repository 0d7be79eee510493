/** The command line as a child process, in a home that nobody else uses. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';

const SREGISTRY = join(import.meta.dirname, 'sregistry.ts');
const FIXTURES = join(import.meta.dirname, '../fixtures/images');

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Home implements Disposable {
  /** Home and working directory. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(env: NodeJS.ProcessEnv = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'sregistry-cli-'));
    this.env = { PATH: process.env.PATH, HOME: this.folder, XDG_RUNTIME_DIR: this.folder, ...env };
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A copy of a genuine image in the working directory. */
  image(fixture = 'old-plain.sqsh', name = basename(fixture)): string {
    copyFileSync(join(FIXTURES, fixture), this.path(name));
    return name;
  }

  start(...args: string[]): ChildProcessWithoutNullStreams {
    return spawn(process.execPath, [SREGISTRY, ...args], { cwd: this.folder, env: this.env });
  }

  /** Runs `sregistry ARGS...`, without a terminal. */
  async sregistry(...args: string[]): Promise<Outcome> {
    return finish(this.start(...args));
  }

  async withInput(input: string, ...args: string[]): Promise<Outcome> {
    return finish(this.start(...args), input);
  }

  /** What a command that must succeed prints. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.sregistry(...args);
    if (code !== 0) throw new Error(`sregistry ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of it
  async json(...args: string[]): Promise<any> {
    return JSON.parse(await this.ok(...args, '--json'));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Its exit code and what it printed. */
export async function finish(child: ChildProcessWithoutNullStreams, input = ''): Promise<Outcome> {
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { code, stdout, stderr };
}
