import type { Backend } from '../backends/backend.ts';

/** The key of a backend's answers: an instance that is pointed to another service knows nothing yet. */
export function identityOf(backend: Backend): string {
  return `${backend.name} ${backend.target}`;
}

/** Are the images on this machine? To ask the backend is then cheaper than to remember its answers. */
export function isLocal(backend: Backend): boolean {
  return backend.localPath !== undefined;
}
