import { execFileSync } from 'node:child_process';

/** `file`, a tar.gz of `name` in `folder`: owned by root, in one order. */
export function archive(file: string, folder: string, name: string, level: number): void {
  const owned = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mode=go=rX,u+rw'];
  const words = [...owned, `--use-compress-program=gzip -${level}`, '-cf', file, '-C', folder, name];
  execFileSync('tar', words, { stdio: ['ignore', 'ignore', 'inherit'] });
}
