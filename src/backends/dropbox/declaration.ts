/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'dropbox',
  title: 'Dropbox',
  aliases: ['dropbox'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  options: {
    token: {
      env: 'SREGISTRY_DROPBOX_TOKEN',
      describe: 'Access token, used if there is no refreshToken. New ones expire after four hours',
      secret: true,
      suffices: true,
    },
    clientId: {
      env: 'SREGISTRY_DROPBOX_CLIENT_ID',
      describe: 'App key of the app at Dropbox that `sregistry auth login` logs in to',
      example: 'q1w2e3r4t5y6u7i',
    },
    refreshToken: {
      env: 'SREGISTRY_DROPBOX_REFRESH_TOKEN',
      describe: 'Login to that app, as `sregistry auth login` gets it',
      secret: true,
      suffices: true,
    },
    root: {
      env: 'SREGISTRY_DROPBOX_ROOT',
      describe: 'Folder with the images. Default: the whole Dropbox, or the folder of the app',
      example: 'containers',
    },
    pathRoot: {
      env: 'SREGISTRY_DROPBOX_PATH_ROOT',
      describe: 'Id of the namespace that the folder is in, for team spaces. Default: the home of the user',
      example: '3235641',
    },
    base: {
      env: 'SREGISTRY_DROPBOX_BASE',
      describe: 'Address that stands for all hosts of Dropbox',
      type: 'url',
      example: 'https://dropbox.example.org',
    },
  },
} as const;
