import { resolve } from 'node:path';
import { packagedFile } from '../base/package.ts';

/**
 * Path of a picture for services that show one beside an image: `SREGISTRY_THUMBNAIL`, else a robot. Google Drive, whose limits
 * it meets, requires a width of at least 220 pixels and at most 2 MB.
 */
export function getThumbnail(env: NodeJS.ProcessEnv = process.env): string {
  return env.SREGISTRY_THUMBNAIL ? resolve(env.SREGISTRY_THUMBNAIL) : packagedFile('assets/robot.png');
}
