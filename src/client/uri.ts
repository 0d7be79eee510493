import type { Backend } from '../backends/backend.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';

/** `<backend>://<name>`, as every command takes it. */
export function uriOf(backend: string | Pick<Backend, 'name' | 'uriScheme'>, name: ImageName): string {
  const scheme = typeof backend === 'string' ? backend : (backend.uriScheme ?? backend.name);
  return `${scheme}://${formatImageName(name)}`;
}
