/**
 * All drivers. Their declarations are imported here, as settings, help and completion need them all. The code of a driver is
 * loaded when a backend of it is created.
 */

import { declaration as aws } from './aws/declaration.ts';
import type { Driver } from './backend.ts';
import { declaration as dir } from './dir/declaration.ts';
import { declaration as drive } from './drive/declaration.ts';
import { declaration as dropbox } from './dropbox/declaration.ts';
import { declaration as gcs } from './gcs/declaration.ts';
import { declaration as gitlab } from './gitlab/declaration.ts';
import { declaration as globus } from './globus/declaration.ts';
import { declaration as hub } from './hub/declaration.ts';
import { declaration as library } from './library/declaration.ts';
import { declaration as local } from './local/declaration.ts';
import { declaration as nvidia } from './nvidia/declaration.ts';
import { declaration as oci } from './oci/declaration.ts';
import { declaration as registry } from './registry/declaration.ts';
import { declaration as s3 } from './s3/declaration.ts';
import { declaration as swift } from './swift/declaration.ts';
import { declaration as web } from './web/declaration.ts';
import { declaration as webdav } from './webdav/declaration.ts';

/** A driver's declaration, and a function that loads its code. */
export interface DriverEntry extends Omit<Driver, 'create'> {
  load(): Promise<Driver>;
}

export const drivers: readonly DriverEntry[] = [
  { ...local, load: async () => (await import('./local/index.ts')).default },
  { ...aws, load: async () => (await import('./aws/index.ts')).default },
  { ...dir, load: async () => (await import('./dir/index.ts')).default },
  { ...drive, load: async () => (await import('./drive/index.ts')).default },
  { ...dropbox, load: async () => (await import('./dropbox/index.ts')).default },
  { ...gcs, load: async () => (await import('./gcs/index.ts')).default },
  { ...gitlab, load: async () => (await import('./gitlab/index.ts')).default },
  { ...globus, load: async () => (await import('./globus/index.ts')).default },
  { ...hub, load: async () => (await import('./hub/index.ts')).default },
  { ...library, load: async () => (await import('./library/index.ts')).default },
  { ...nvidia, load: async () => (await import('./nvidia/index.ts')).default },
  { ...oci, load: async () => (await import('./oci/index.ts')).default },
  { ...registry, load: async () => (await import('./registry/index.ts')).default },
  { ...s3, load: async () => (await import('./s3/index.ts')).default },
  { ...swift, load: async () => (await import('./swift/index.ts')).default },
  { ...web, load: async () => (await import('./web/index.ts')).default },
  { ...webdav, load: async () => (await import('./webdav/index.ts')).default },
];
