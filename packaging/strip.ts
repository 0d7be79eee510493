import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import type { Architecture } from './target.ts';

/** Of Debian's packages `binutils` and `binutils-aarch64-linux-gnu`. */
const PROGRAM: Record<Architecture, string> = {
  x64: 'x86_64-linux-gnu-strip',
  arm64: 'aarch64-linux-gnu-strip',
};

/** Copies a program or a library without the symbols that only debuggers read; with them if the tool is missing. */
export function copyStripped(from: string, to: string, architecture: Architecture): void {
  try {
    execFileSync(PROGRAM[architecture], ['--strip-unneeded', '-o', to, from], { stdio: 'pipe' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    copyFileSync(from, to);
  }
}
