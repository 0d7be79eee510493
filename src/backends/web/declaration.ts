/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
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
      describe: 'User at that address, where it asks for one',
    },
    password: {
      env: 'SREGISTRY_HTTP_PASSWORD',
      describe: 'Password of that user',
      secret: true,
    },
    nohttps: {
      env: 'SREGISTRY_HTTP_NOHTTPS',
      describe:
        'Speak plain http with the hosts of names, which is otherwise done on the loopback and at port 80 only',
      type: 'boolean',
    },
  },
} as const;
