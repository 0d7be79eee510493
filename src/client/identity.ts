import type { Backend } from '../backends/backend.ts';

/** The key of a backend's remembered answers. It changes when the instance is pointed to another service. */
export function identityOf(backend: Backend): string {
  return `${backend.name} ${backend.target}`;
}

/** Are the images on this machine? Then asking the backend is cheaper than remembering its answers. */
export function isLocal(backend: Backend): boolean {
  return backend.localPath !== undefined;
}
