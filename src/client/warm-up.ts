/** What a mount prepares, so that its reader does not wait for it: drivers are loaded and services are connected to. */
import type { Backend } from '../backends/backend.ts';
import { debugLog } from '../log/index.ts';
import type { Session } from './session.ts';

/** Connections to each service: one for the manifest, the others for the first ranges of an image. */
const CONNECTIONS = 6;

const debug = debugLog('fs');

/** Loads the drivers of every backend, and connects to their services. A backend that cannot be made is left to who uses it. */
export async function warmUp(session: Session): Promise<void> {
  for (const name of session.backendNames) {
    try {
      warm(session, await session.backend(name));
    } catch (error) {
      debug('%s is not prepared: %o', name, error);
    }
  }
}

/** Connects to the service of a backend, unless that was done a moment ago. */
export function warm({ offline }: Session, backend: Backend): void {
  if (!offline) backend.http?.warm(CONNECTIONS);
}
