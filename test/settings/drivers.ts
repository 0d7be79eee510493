import type { DriverDeclaration } from '../../src/settings/instances.ts';

/** Declarations of the shapes that drivers have, for tests of what is made of them. */
export const DRIVERS: readonly DriverDeclaration[] = [
  { name: 'local', aliases: [], options: {} },
  { name: 'hub', aliases: ['shub'], options: { base: { default: 'https://hub.example', describe: '' } } },
  {
    name: 'oci',
    defaultInstance: 'docker',
    aliases: ['oras'],
    options: {
      base: { type: 'url', describe: '' },
      password: { secret: true, describe: '' },
    },
  },
  {
    name: 'registry',
    aliases: [],
    options: {
      base: { env: 'SREGISTRY_REGISTRY_BASE', type: 'url', required: true, describe: '' },
      token: { env: 'SREGISTRY_REGISTRY_TOKEN', secret: true, describe: '' },
    },
  },
  {
    name: 's3',
    aliases: [],
    options: {
      bucket: { env: 'SREGISTRY_S3_BUCKET', required: true, describe: '' },
      accessKeyId: { env: 'AWS_ACCESS_KEY_ID', describe: '' },
      secretAccessKey: { env: 'AWS_SECRET_ACCESS_KEY', secret: true, required: true, describe: '' },
    },
  },
  {
    name: 'gcs',
    aliases: ['google-storage', 'google-compute'],
    options: {
      bucket: { env: 'SREGISTRY_GOOGLE_STORAGE_BUCKET', describe: '' },
      project: { describe: '' },
    },
  },
  {
    name: 'dropbox',
    aliases: [],
    options: {
      token: { env: 'SREGISTRY_DROPBOX_TOKEN', secret: true, suffices: true, describe: '' },
      root: { env: 'SREGISTRY_DROPBOX_ROOT', describe: '' },
    },
  },
];

export function driver(name: string): DriverDeclaration {
  const found = DRIVERS.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no driver ${name}`);
  return found;
}
