/**
 * Step 1, the skeleton: what the driver says of itself. Flags, environment variables, entries of the secrets file, prompts,
 * redaction and the table in the docs are all made from it.
 */
export const declaration = {
  name: 'template',
  title: 'Web server that takes PUT and DELETE',
  /** What may stand before `://` in an image's name, and in SREGISTRY_CLIENT. */
  aliases: ['template'],
  /** What its backends can do beyond resolving and reading. Each is a property of the backend in index.ts. */
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
      describe: 'Token that allows to write there',
      secret: true,
    },
  },
} as const;
