/**
 * Every service that the tests have, each as an instance of its driver in a secrets file. For what must hold between any
 * two of them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REGISTRY_LOGIN as REGISTRY_USER, startRegistry } from './docker-registry.ts';
import { startFakeDrive } from './drive.ts';
import { startFakeDropbox } from './dropbox.ts';
import { startEcr } from './ecr.ts';
import { startFakeGcs } from './fake-gcs.ts';
import { startFakeHub } from './fake-hub.ts';
import { startFileServer } from './file-server.ts';
import { GITLAB_PROJECT, GITLAB_TOKENS, startFakeGitlab } from './gitlab.ts';
import { TRANSFER_SCOPE } from './globus/auth.ts';
import { startFakeGlobus } from './globus.ts';
import { googleOAuthClient } from './google-credentials.ts';
import { LIBRARY_TOKEN, startFakeLibrary } from './library.ts';
import { OAUTH_CLIENT, startOAuthServer } from './oauth-server.ts';
import { REGISTRY_LOGIN, startRegistryServer } from './registry-server.ts';
import { startS3 } from './s3.ts';
import { startSwift } from './swift.ts';
import { startWebdav, WEBDAV_LOGIN } from './webdav.ts';

export interface Service {
  /** Name of the backend. */
  readonly name: string;
  /** Its entry in the secrets file. */
  readonly entry: Readonly<Record<string, unknown>>;
  /** Puts `lab/tools/seed:1.0` there; only of services that cannot be pushed to. */
  readonly seed?: (bytes: Buffer) => void;
  /** Name of a collection there. Default: `lab/tools`. */
  readonly collection?: string;
  readonly close: () => Promise<unknown>;
}

type Start = (folder: string) => Promise<Omit<Service, 'name'>>;

/** Drivers that have another name than their backends. */
const DRIVERS: Readonly<Record<string, string>> = { docker: 'oci', 'google-drive': 'drive' };

const STARTS: Readonly<Record<string, Start>> = {
  local: async () => ({ entry: {}, close: async () => {} }),
  dir: async (folder) => {
    const base = join(folder, 'dir');
    await mkdir(base);
    return { entry: { base }, close: async () => {} };
  },
  docker: async () => {
    const registry = await startRegistry();
    return { entry: { base: registry.url, ...REGISTRY_USER }, close: () => registry.remove() };
  },
  s3: async () => {
    const s3 = await startS3();
    const bucket = await s3.createBucket();
    return { entry: { base: s3.url, bucket, ...s3.login }, close: () => s3.stop() };
  },
  gcs: async () => {
    const gcs = await startFakeGcs();
    return { entry: { base: gcs.url, bucket: gcs.bucket }, close: () => gcs.close() };
  },
  'google-drive': async (folder) => {
    const oauth = await startOAuthServer();
    const drive = await startFakeDrive({
      accepts: (token) => oauth.given.some(({ access_token }) => access_token === token),
    });
    const credentials = join(folder, 'drive-client.json');
    await writeFile(credentials, JSON.stringify(googleOAuthClient(oauth.url, OAUTH_CLIENT.clientId)));
    oauth.given.push({ access_token: 'spent', refresh_token: 'first' });
    return {
      entry: { base: drive.url, credentials, refreshToken: 'first' },
      close: () => Promise.all([drive.close(), oauth.close()]),
    };
  },
  dropbox: async () => {
    const dropbox = await startFakeDropbox();
    return { entry: { base: dropbox.url, token: 'old' }, close: () => dropbox.close() };
  },
  swift: async () => {
    const swift = await startSwift();
    return { entry: { url: swift.auth, ...swift.login }, close: () => swift.stop() };
  },
  gitlab: async () => {
    const gitlab = await startFakeGitlab();
    const entry = { base: gitlab.url, project: GITLAB_PROJECT, token: GITLAB_TOKENS['private-token'] };
    return { entry, close: () => gitlab.close() };
  },
  aws: async () => {
    const ecr = await startEcr();
    const entry = {
      account: ecr.account,
      region: 'us-east-1',
      base: ecr.url,
      endpoint: ecr.api,
      ...ecr.login,
    };
    return { entry, close: () => ecr.close() };
  },
  nvidia: async () => {
    const registry = await startRegistry({ auth: 'basic' });
    const { username, password: token } = REGISTRY_USER;
    return { entry: { base: registry.url, username, token }, close: () => registry.remove() };
  },
  globus: async () => {
    const globus = await startFakeGlobus();
    const { id, scopes } = await globus.add({ kind: 'mapped' });
    const login = globus.auth.login(`${TRANSFER_SCOPE}[*${scopes.dataAccess}] ${scopes.https}`);
    return {
      entry: { endpoint: id, login, transferBase: globus.url, authBase: globus.url },
      close: () => globus.close(),
    };
  },
  library: async () => {
    const library = await startFakeLibrary();
    return { entry: { base: library.url, token: LIBRARY_TOKEN }, close: () => library.close() };
  },
  registry: async () => {
    const server = await startRegistryServer();
    return { collection: 'lab', entry: { base: server.url, ...REGISTRY_LOGIN }, close: () => server.close() };
  },
  webdav: async () => {
    const server = await startWebdav();
    return { entry: { base: server.url, ...WEBDAV_LOGIN }, close: () => server.stop() };
  },
  hub: async () => {
    const hub = await startFakeHub();
    return {
      collection: 'lab',
      entry: { base: `${hub.url}/api` },
      seed: (bytes) => void hub.put('lab/seed:1.0', bytes),
      close: () => hub.close(),
    };
  },
  http: async () => {
    const server = await startFileServer();
    return {
      entry: { base: `${server.url}/` },
      seed: (bytes) => void server.put('lab/tools/seed:1.0.sif', bytes),
      close: () => server.close(),
    };
  },
};

export const SERVICES = Object.keys(STARTS);

/** Starts all of them; `folder` is for their files. */
export function startEvery(folder: string): Promise<Service[]> {
  return Promise.all(
    Object.entries(STARTS).map(async ([name, start]) => {
      const { entry, ...service } = await start(folder);
      return { ...service, name, entry: { driver: DRIVERS[name] ?? name, ...entry } };
    }),
  );
}
