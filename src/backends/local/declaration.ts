export const declaration = {
  name: 'local',
  title: 'Images on this machine: the catalog and its storage',
  aliases: ['local'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy'],
  options: {},
} as const;
