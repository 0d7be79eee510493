/** The driver's declaration, separate from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'http',
  title: 'Web server with image files, read-only',
  aliases: ['http', 'https'],
  capabilities: ['list', 'search', 'share', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_HTTP_BASE',
      describe: 'Address of the folder with the images. Without it, names begin with a host',
      type: 'url',
      example: 'https://example.org/containers/',
    },
    username: {
      env: 'SREGISTRY_HTTP_USERNAME',
      describe: 'User at that address, if the server asks for one',
    },
    password: {
      env: 'SREGISTRY_HTTP_PASSWORD',
      describe: 'Password of that user',
      secret: true,
    },
    nohttps: {
      env: 'SREGISTRY_HTTP_NOHTTPS',
      describe: 'Without base: use plain http for all hosts. Default: only for this machine and for port 80',
      type: 'boolean',
    },
  },
} as const;
