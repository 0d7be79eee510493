import type { DriverContext } from '../backend.ts';
import type { declaration } from './declaration.ts';

/** What a backend of Google Drive is made from. */
export type DriveContext = DriverContext<typeof declaration.options>;
