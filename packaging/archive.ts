import { execFileSync } from 'node:child_process';

/** `file`, a tar.gz of `name` in `folder`: owned by root, in one order. */
export function archive(file: string, folder: string, name: string): void {
  const owned = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mode=go=rX,u+rw'];
  execFileSync('tar', [...owned, '-czf', file, '-C', folder, name], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}
