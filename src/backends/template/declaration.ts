/**
 * Step 1, the skeleton: the driver's declaration. Flags, environment variables, entries of the secrets file, prompts, redaction and the
 * table in the docs all derive from it.
 */
export const declaration = {
  name: 'template',
  title: 'Web server that accepts PUT and DELETE',
  /** URI schemes of image names (`template://`), and values of SREGISTRY_CLIENT. */
  aliases: ['template'],
  /** What its backends can do beyond resolving and reading. Each is a method of the backend. */
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_TEMPLATE_BASE',
      describe: 'Address of the folder with the images',
      required: true,
      type: 'url',
      example: 'https://example.org/containers/',
    },
    token: {
      env: 'SREGISTRY_TEMPLATE_TOKEN',
      describe: 'Token with write access',
      secret: true,
    },
  },
} as const;
