import type { State } from '../catalog/state.ts';

/** Options of the caches of what registries say. */
export interface MetadataOptions {
  readonly state: State;
  /** Milliseconds for which an image or a listing is believed. */
  readonly ttl: number;
  /** Answer from what is known alone; never ask a service. */
  readonly offline: boolean;
}
