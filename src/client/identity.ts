import type { Backend } from '../backends/backend.ts';

/**
 * The key of a backend's remembered answers. It changes when the instance is pointed to another service, or chooses images of another
 * architecture, or believes other indexes: what a name stands for differs then.
 */
export function identityOf({ name, target, arch, chooses }: Backend): string {
  return [name, target, arch, chooses].filter((part) => part !== undefined).join(' ');
}

/** Are the images on this machine? Then asking the backend is cheaper than remembering its answers. */
export function isLocal(backend: Backend): boolean {
  return backend.localPath !== undefined;
}
