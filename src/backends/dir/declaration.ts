export const declaration = {
  name: 'dir',
  title: 'A directory, such as one on a shared file system, as a registry',
  aliases: ['dir'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_DIR_BASE',
      describe: 'Path of the directory',
      required: true,
      type: 'path',
      example: '/shared/containers',
    },
  },
} as const;
