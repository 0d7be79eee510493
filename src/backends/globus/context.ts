import type { DriverContext } from '../backend.ts';
import type { declaration } from './declaration.ts';

/** What a backend of Globus is made from. */
export type GlobusContext = DriverContext<typeof declaration.options>;
