import { join } from 'node:path';
import type { Backend } from '../../../src/backends/backend.ts';
import driver from '../../../src/backends/drive/index.ts';
import type { FakeDrive } from '../../servers/drive.ts';
import { workloadIdentity } from '../../servers/google-credentials.ts';

export type DriveOptions = Parameters<typeof driver.create>[0]['options'];

export const DEFAULTS: Omit<DriveOptions, 'credentials' | 'base'> = {
  refreshToken: undefined,
  root: 'sregistry',
  folder: undefined,
  sharedDrive: undefined,
  scope: 'drive',
  thumbnail: undefined,
  acknowledgeAbuse: false,
};

/** A backend of the fake, which issues its tokens itself. `folder` holds the credentials. */
export async function connectDrive(
  service: Pick<FakeDrive, 'url'>,
  folder: string,
  options: Partial<DriveOptions> = {},
  env: NodeJS.ProcessEnv = {},
): Promise<Backend> {
  const credentials = join(folder, 'identity.json');
  await workloadIdentity(folder, credentials, service.url);
  return driver.create({
    name: 'google-drive',
    options: { ...DEFAULTS, credentials, base: service.url, ...options },
    env: { SREGISTRY_CREDENTIALS_CACHE: folder, ...env },
  });
}
