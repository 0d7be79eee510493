/** The error for what a backend cannot do. It names the drivers whose backends can. */
import type { Backend, Capability } from '../backends/backend.ts';
import { drivers } from '../backends/registry.ts';
import { SregistryError } from '../base/errors.ts';

/** `what` completes the sentence: `cannot be pushed to`. */
export function unsupported({ name, driver }: Backend, capability: Capability, what: string): SregistryError {
  const able = drivers.filter(({ capabilities }) => capabilities.includes(capability));
  return new SregistryError('UNSUPPORTED', `${name} (${driver}) ${what}`, {
    hint: `Backends of these drivers can: ${able.map((each) => each.name).join(', ')}`,
  });
}
