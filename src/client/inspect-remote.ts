/**
 * What is known of a registry's image without a pull: what the service states, and what is inside it. The latter comes from the
 * metadata that was pushed with the image, else from the few blocks of the image that hold it.
 */
import type { Backend } from '../backends/backend.ts';
import { formatArchitecture } from '../base/platform.ts';
import { INSPECT_KEY, readAnnotations } from '../image/annotations.ts';
import { type Inspection, inspect, unreadable } from '../image/inspect.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { identityOf } from './identity.ts';
import { openImageSource } from './image-source.ts';
import { inspectLayered, isLayered } from './layered-images.ts';
import { remembered } from './remembered.ts';
import type { Session } from './session.ts';

/**
 * What the service states of an image, as plain JSON. Of one in layers also for which architecture it is, and the layers as their
 * registry has them; `estimated` if its size is not known.
 */
export function factsOf(session: Session, backend: Backend, image: RemoteImage) {
  const { name, modified, digest, revision, extension, unpresentable, layered } = image;
  const sized = session.layered.sized(image);
  return {
    uri: session.uri(backend, name),
    backend: backend.name,
    ...name,
    size: sized.size,
    ...(session.layered.isEstimate(image) && { estimated: true }),
    modified: modified?.toISOString(),
    digest,
    revision,
    extension,
    cached: session.cachedBytes(backend, sized),
    unpresentable,
    ...(layered && {
      architecture: formatArchitecture(layered),
      layers: layered.layers.map(({ digest, size, diffId }) => ({ digest, size, diffId })),
    }),
  };
}

/** {@link factsOf} and {@link inspectionOf}. */
export async function inspectRemote(
  session: Session,
  backend: Backend,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<ReturnType<typeof factsOf> & Inspection> {
  const facts = factsOf(session, backend, image);
  return { ...facts, ...(await inspectionOf(session, backend, image, signal)) };
}

/** Labels of an image. */
export async function labelsOf(
  session: Session,
  backend: Backend,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const { data } = await inspectionOf(session, backend, image, signal);
  return data.attributes.labels ?? {};
}

/** What the image says of itself: the metadata pushed with it, else read from the image. */
export async function inspectionOf(
  session: Session,
  backend: Backend,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<Inspection> {
  const isTold = image.annotations?.[INSPECT_KEY] !== undefined || image.unpresentable !== undefined;
  if (isTold && !isLayered(image))
    return { data: { attributes: readAnnotations(image.annotations) }, type: 'container' };
  const inspection = await (isLayered(image)
    ? inspectLayered(image)
    : inspectBytes(session, backend, image, signal)
  ).catch(unreadable);
  if (inspection.unknown === undefined) {
    const { name, revision } = image;
    const { attributes } = inspection.data;
    remembered(session.state, ({ texts }) =>
      texts.learn(identityOf(backend), formatImageName(name), revision, attributes),
    );
  }
  return inspection;
}

async function inspectBytes(
  session: Session,
  backend: Backend,
  image: RemoteImage,
  signal: AbortSignal | undefined,
): Promise<Inspection> {
  await using source = await openImageSource(session, backend, image, signal);
  return await inspect(source);
}
