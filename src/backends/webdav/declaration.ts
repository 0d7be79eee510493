export const declaration = {
  name: 'webdav',
  title: 'WebDAV: nginx, Apache, Nextcloud, a NAS',
  aliases: ['webdav'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_WEBDAV_BASE',
      describe: 'Address of the collection with the images',
      required: true,
      type: 'url',
      example: 'https://cloud.example.org/remote.php/dav/files/me/containers/',
    },
    username: { env: 'SREGISTRY_WEBDAV_USERNAME', describe: 'User on that server' },
    password: { env: 'SREGISTRY_WEBDAV_PASSWORD', describe: 'Password of that user', secret: true },
    token: {
      env: 'SREGISTRY_WEBDAV_TOKEN',
      describe: 'Bearer token, used instead of user and password',
      secret: true,
    },
  },
} as const;
