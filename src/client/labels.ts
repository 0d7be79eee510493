/** Labels of the images that are known: those on this machine, and those of services that were seen. */
import { type LabelFilter, type LabelUse, labelUses } from '../catalog/labels.ts';
import { debugLog } from '../log/index.ts';
import { identityOf } from './identity.ts';
import { lookAround } from './seen.ts';
import type { Session } from './session.ts';

const debug = debugLog('client');

/** Every label that the filter lets through, with the URIs of the images that have it. Asks no service. */
export async function listLabels(
  session: Session,
  filter: LabelFilter = {},
  signal?: AbortSignal,
): Promise<LabelUse<string>[]> {
  const labelled = await Promise.all(session.backendNames.map((name) => labelsSeen(session, name, signal)));
  return labelUses(labelled.flat(), filter);
}

/** The labels of one backend. If it lacks settings or its directory is not mounted, only what was seen of it before. */
async function labelsSeen(session: Session, name: string, signal?: AbortSignal) {
  try {
    const backend = await session.backend(name);
    if (backend.localPath !== undefined) await lookAround(session, backend, signal).catch(unlessAborted);
    const seen = session.state.texts.labels(identityOf(backend));
    return [...seen].map(([image, labels]) => [`${backend.name}://${image}`, labels] as const);
  } catch (error) {
    unlessAborted(error);
    return [];
  }

  function unlessAborted(error: unknown): void {
    signal?.throwIfAborted();
    debug('labels of %s: %o', name, error);
  }
}
