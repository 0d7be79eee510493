/**
 * Finds the backend and the name that a command's text means. The backend is the scheme (`lab://demo/x:1`: an
 * instance's own name, or an alias of a driver), else `SREGISTRY_CLIENT`, else the active backend, else `hub`.
 */
import type { Backend } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName, parseImageName, removeUri, splitExtension, uriScheme } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { ACTIVE, activeBackend, entryOf } from '../settings/secrets.ts';
import type { Session } from './session.ts';

/** The default backend, as in the Python client. */
export const DEFAULT_CLIENT = 'hub';

type Configuration = Pick<Session, 'env' | 'secrets'>;

export interface Target {
  readonly backend: Backend;
  readonly name: ImageName;
}

export interface TargetOptions {
  /** Wins over the tag in the text. */
  readonly tag?: string | undefined;
}

/**
 * Parses the name of an image and its backend. Keeps case, as some services distinguish it. Of several components, the first is a
 * registry only if it looks like a host. Throws SETTINGS for an unknown backend, INVALID_NAME for an invalid name.
 */
export async function parseTarget(
  text: string,
  session: Session,
  options: TargetOptions = {},
): Promise<Target> {
  const backend = await backendOf(text, session);
  const name = parseImageName(removeUri(text), {
    tag: options.tag,
    defaultCollection: backend.defaultCollection,
    lowercase: false,
    first: 'host',
  });
  const { registry, collection, image, tag, version } = name;
  return { backend, name: { registry, collection, image, tag, version, ...writtenFile(text) } };
}

/** The file name at the end of a text, if its extension is an image's. */
function writtenFile(text: string): Pick<ImageName, 'file'> {
  const file = text.slice(text.lastIndexOf('/') + 1);
  return splitExtension(file).extension === undefined ? {} : { file };
}

/** The backend of a text's scheme, or the one used for texts without a scheme. */
export async function backendOf(text: string, session: Session): Promise<Backend> {
  if (/^http:\/\//i.test(text)) return session.plainHttp();
  const client = clientOf(text, session);
  if (client !== undefined) return session.backend(client);
  try {
    return await session.backend(DEFAULT_CLIENT);
  } catch (cause) {
    if (!isError(cause, 'SETTINGS')) throw cause;
    throw new SregistryError('SETTINGS', `"${text}" names no backend, and no backend is active`, {
      hint: `Write for instance docker://${removeUri(text)}, or run: sregistry backend activate NAME`,
      cause,
    });
  }
}

/** The name of the text's scheme, else of the preferred backend; undefined if there is neither. */
export function clientOf(text: string, configuration: Configuration): string | undefined {
  return schemeOf(text, configuration) ?? preferredBackend(configuration);
}

/** The backend that `SREGISTRY_CLIENT` or the secrets file choose. */
export function preferredBackend({ env, secrets }: Configuration): string | undefined {
  return env[ACTIVE] || activeBackend(secrets);
}

/** The name of a scheme: an instance's as it is in the secrets file; any other in lower case. */
function schemeOf(text: string, { secrets }: Configuration): string | undefined {
  const written = /^([^/]+):\/\//.exec(text)?.[1];
  if (written !== undefined && entryOf(secrets, written) !== undefined) return written;
  return uriScheme(text);
}

/** The image that a target stands for now, according to the service. Throws NOT_FOUND if it does not exist. */
export async function findImage(
  session: Session,
  { backend, name }: Target,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const image = await backend.resolve(name, signal);
  session.metadata.images.put(backend, name, image);
  if (image !== undefined) return image;
  const uri = session.uri(backend, name);
  const meant = await inLowerCase(backend, name, signal);
  throw new SregistryError('NOT_FOUND', `${uri} does not exist in ${name.registry ?? backend.target}`, {
    hint:
      meant === undefined
        ? `sregistry search --backend ${backend.name} ${name.image} shows what does`
        : `Did you mean ${session.uri(backend, meant)}? The Python client pushes in lower case`,
  });
}

/** The name in lower case, if it differs and an image has it. */
async function inLowerCase(
  backend: Backend,
  name: ImageName,
  signal?: AbortSignal,
): Promise<ImageName | undefined> {
  const folded = {
    ...name,
    collection: name.collection.toLowerCase(),
    image: name.image.toLowerCase(),
    tag: name.tag.toLowerCase(),
  };
  if (formatImageName(folded) === formatImageName(name)) return undefined;
  const found = await backend.resolve(folded, signal).catch(() => undefined);
  signal?.throwIfAborted();
  return found && folded;
}

/** As {@link findImage}. Throws NOT_PRESENTABLE if it is not an image that can be run. */
export async function findUsableImage(
  session: Session,
  target: Target,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const image = await findImage(session, target, signal);
  if (image.unpresentable === undefined) return image;
  const uri = session.uri(target.backend, target.name);
  throw new SregistryError('NOT_PRESENTABLE', `${uri} cannot be used as an image: ${image.unpresentable}`);
}

/**
 * The default file name of a pulled image, as in the Python client: the whole name with `-` for each slash,
 * `<collection>-<image>:<tag>[@<version>].sif`.
 */
export function defaultFileName(name: ImageName): string {
  return `${formatImageName(name).replaceAll('/', '-')}.sif`;
}
