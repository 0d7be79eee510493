/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'gcs',
  title: 'Google Cloud Storage',
  aliases: ['google-storage', 'google-compute', 'google-build', 'gcs', 'gs'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  dependencies: [{ module: 'google-auth-library', version: '^10.9.1', purpose: 'to log in to Google' }],
  options: {
    bucket: {
      env: 'SREGISTRY_GOOGLE_STORAGE_BUCKET',
      describe: 'Bucket with the images',
      required: true,
      example: 'lab-containers',
    },
    credentials: {
      env: 'GOOGLE_APPLICATION_CREDENTIALS',
      describe:
        'File of a service account, of a user or of a workload identity. Default: what gcloud or the machine has',
      type: 'path',
    },
    anonymous: {
      env: 'SREGISTRY_GOOGLE_STORAGE_ANONYMOUS',
      describe: 'Send no credentials, for public buckets',
      type: 'boolean',
      default: 'no',
    },
    private: {
      env: 'SREGISTRY_GOOGLE_STORAGE_PRIVATE',
      describe: 'Keep pushed images private. `no` lets everybody on the internet read them',
      type: 'boolean',
      default: 'yes',
    },
    project: {
      env: 'SREGISTRY_GOOGLE_PROJECT',
      describe: 'Project that pays for requests to a requester-pays bucket',
    },
    base: {
      env: 'SREGISTRY_GOOGLE_STORAGE_BASE',
      describe:
        'Address of the JSON API. Default: STORAGE_EMULATOR_HOST, else https://storage.googleapis.com',
      type: 'url',
      example: 'https://storage.googleapis.com',
    },
  },
} as const;
