/** The extended attributes `user.sregistry.*`, which tell what is known of a path without a pull. */
import type { Backend } from '../backends/backend.ts';
import { inspectRemote, labelsOf } from '../client/inspect-remote.ts';
import type { Session } from '../client/session.ts';
import type { RemoteImage } from '../image/remote.ts';

export interface XattrTarget {
  /** Why the last operation on it failed. */
  readonly error?: string | undefined;
  readonly backend?: string | undefined;
}

/** Attributes of a path that is an image of a registry. */
interface ImageTarget extends XattrTarget {
  readonly session: Session;
  readonly signal: AbortSignal;
  readonly service: Backend;
  readonly image: RemoteImage;
}

type Value = (target: ImageTarget) => string | undefined | Promise<string | undefined>;

const PREFIX = 'user.sregistry.';

const OF_IMAGES: Record<string, Value> = {
  uri: ({ session, service, image }) => session.uri(service, image.name),
  digest: ({ image }) => image.digest,
  revision: ({ image }) => image.revision,
  cached: ({ session, service, image }) => String(session.cachedBytes(service, image)),
  labels: async ({ session, service, image, signal }) =>
    JSON.stringify(await labelsOf(session, service, image, signal)),
  inspect: async ({ session, service, image, signal }) =>
    JSON.stringify(await inspectRemote(session, service, image, signal)),
};

/** Is it one of these attributes, as far as its name tells? */
export function isOwnAttribute(attribute: string): boolean {
  return attribute.startsWith(PREFIX);
}

export function attributeNames(target: XattrTarget): string[] {
  const names = isImage(target) ? Object.keys(OF_IMAGES) : [];
  if (isImage(target) && target.image.digest === undefined) names.splice(names.indexOf('digest'), 1);
  if (target.backend !== undefined) names.push('backend');
  if (target.error !== undefined) names.push('error');
  return names.map((name) => PREFIX + name);
}

export async function attributeValue(target: XattrTarget, attribute: string): Promise<string | undefined> {
  const name = attribute.slice(PREFIX.length);
  if (name === 'error') return target.error;
  if (name === 'backend') return target.backend;
  return isImage(target) ? OF_IMAGES[name]?.(target) : undefined;
}

function isImage(target: XattrTarget): target is ImageTarget {
  return 'image' in target;
}
