/** Files of credentials as Google hands them out, for fakes of its services. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes the configuration of a workload identity to `path`; its tokens come from `POST <service>/v1/token`. */
export async function workloadIdentity(folder: string, path: string, service: string): Promise<void> {
  const subject = join(folder, 'subject-token');
  await writeFile(subject, 'a token of the identity provider');
  const config = {
    type: 'external_account',
    audience:
      '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `${service}/v1/token`,
    credential_source: { file: subject },
  };
  await writeFile(path, JSON.stringify(config));
}

export interface ServiceAccount {
  readonly email: string;
  /** PEM. */
  readonly publicKey: string;
}

/** Writes the key file of a service account to `path`. */
export async function serviceAccount(path: string): Promise<ServiceAccount> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const email = 'pusher@demo.iam.gserviceaccount.com';
  const key = { type: 'service_account', project_id: 'demo', private_key: privateKey, client_email: email };
  await writeFile(path, JSON.stringify(key));
  return { email, publicKey };
}

/** The JSON file of an OAuth client, as Google's console offers it. `server` plays the endpoints for logins. */
export function googleOAuthClient(server: string, clientId: string): Record<string, unknown> {
  return {
    installed: {
      client_id: clientId,
      project_id: 'demo',
      auth_uri: `${server}/authorize`,
      token_uri: `${server}/token`,
      client_secret: 'GOCSPX-not-a-secret',
      redirect_uris: ['http://localhost'],
    },
  };
}
