import type { State } from '../catalog/state.ts';
import type { Health } from './health.ts';

/** Options of the caches of what registries say. */
export interface MetadataOptions {
  readonly state: State;
  /** Milliseconds for which an image or a listing is trusted. */
  readonly ttl: number;
  /** Answer from memory and catalog only; never ask a service. */
  readonly offline: boolean;
  /** Gets whether services answer. */
  readonly health?: Health;
}
