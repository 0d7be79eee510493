export const declaration = {
  name: 'local',
  title: 'Images on this machine: the catalog and its storage',
  aliases: ['local'],
  options: {},
} as const;
