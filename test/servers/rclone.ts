/** Runs rclone, for which `lab:` is the service of its environment. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TlsFront } from './tls-front.ts';

const MEBIBYTE = 1024 * 1024;

/** What it prints. */
export async function rclone(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Buffer> {
  const options = { env, encoding: 'buffer', timeout: 60_000, maxBuffer: 64 * MEBIBYTE } as const;
  return (await promisify(execFile)('rclone', args, options)).stdout;
}

/** The environment in which a service whose hosts rclone knows by name is the one behind the front, with a login that lasts. */
export function throughFront(type: string, accessToken: string, front: TlsFront): NodeJS.ProcessEnv {
  const token = {
    access_token: accessToken,
    token_type: 'Bearer',
    refresh_token: 'none',
    expiry: '2099-01-01T00:00:00Z',
  };
  return {
    ...process.env,
    HTTPS_PROXY: front.proxy,
    NO_PROXY: '',
    RCLONE_CONFIG: '/dev/null',
    RCLONE_CONFIG_LAB_TYPE: type,
    RCLONE_CONFIG_LAB_CLIENT_ID: 'lab',
    RCLONE_CONFIG_LAB_CLIENT_SECRET: 'lab',
    RCLONE_CONFIG_LAB_TOKEN: JSON.stringify(token),
    RCLONE_CA_CERT: front.ca,
    RCLONE_RETRIES: '1',
    RCLONE_LOW_LEVEL_RETRIES: '1',
    [`RCLONE_${type.toUpperCase()}_PACER_MIN_SLEEP`]: '1ms',
  };
}
