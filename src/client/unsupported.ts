/** The error for what a backend cannot do. It says which drivers' backends can. */
import type { Backend } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { type Capability, listCapabilities } from './backends.ts';

/** `what` completes the sentence: `cannot be pushed to`. */
export async function unsupported(
  { name, driver }: Backend,
  capability: Capability,
  what: string,
  env: NodeJS.ProcessEnv,
): Promise<SregistryError> {
  const able = (await listCapabilities(env)).filter(({ can }) => can[capability]).map((each) => each.driver);
  return new SregistryError('UNSUPPORTED', `${name} (${driver}) ${what}`, {
    hint: `Backends of these drivers can: ${able.join(', ')}`,
  });
}
