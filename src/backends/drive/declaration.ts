/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'drive',
  defaultInstance: 'google-drive',
  title: 'Google Drive',
  aliases: ['google-drive', 'drive', 'gdrive'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  dependencies: [
    { module: 'google-auth-library', version: '^10.9.1', purpose: 'to log in with a service account' },
  ],
  options: {
    credentials: {
      env: 'SREGISTRY_GOOGLE_DRIVE_CREDENTIALS',
      describe: 'JSON file of an OAuth client (then log in), or of a service account',
      required: true,
      type: 'path',
      example: '~/client_secret.json',
    },
    refreshToken: {
      env: 'SREGISTRY_GOOGLE_DRIVE_REFRESH_TOKEN',
      describe:
        'Login to the OAuth client, as `sregistry auth login` gets it. Default: the login of the Python client',
      secret: true,
    },
    root: {
      env: 'SREGISTRY_GOOGLE_DRIVE_ROOT',
      describe: 'Name of the folder with the images, wherever it lies in the drive',
      default: 'sregistry',
    },
    folder: {
      env: 'SREGISTRY_GOOGLE_DRIVE_FOLDER',
      describe: "Id of that folder, used instead of its name: for somebody else's folder",
      example: '1pXR5S8wufELh9Q-jDkhCoYu-BL1NqN9y',
    },
    sharedDrive: {
      env: 'SREGISTRY_GOOGLE_DRIVE_SHARED_DRIVE',
      describe: 'Id of the shared drive that the folder is in. Default: My Drive',
      example: '0AGzK4qC1cIcMUk9PVA',
    },
    scope: {
      env: 'SREGISTRY_GOOGLE_DRIVE_SCOPE',
      describe:
        'What sregistry may do: everything, only with files that it made itself (`drive.file`), or only read',
      choices: ['drive', 'drive.file', 'drive.readonly'],
      default: 'drive',
    },
    thumbnail: {
      env: 'SREGISTRY_THUMBNAIL',
      describe:
        'Picture that Drive shows for pushed images: PNG, JPEG, GIF or WebP of up to 2 MB. Default: a robot',
      type: 'path',
    },
    acknowledgeAbuse: {
      env: 'SREGISTRY_GOOGLE_DRIVE_ACKNOWLEDGE_ABUSE',
      describe: 'Also read images that Google takes for malware; their owner may',
      type: 'boolean',
      default: 'no',
    },
    base: {
      env: 'SREGISTRY_GOOGLE_DRIVE_BASE',
      describe: 'Address of the API. Default: https://www.googleapis.com',
      type: 'url',
      example: 'https://www.googleapis.com',
    },
  },
} as const;
