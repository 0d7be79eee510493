export const declaration = {
  name: 'gitlab',
  title: 'GitLab: generic packages, and job artifacts to read',
  aliases: ['gitlab'],
  capabilities: ['list', 'push', 'search', 'remove', 'check'],
  options: {
    token: {
      env: 'SREGISTRY_GITLAB_TOKEN',
      describe: 'Personal, project, group, deploy or job token',
      required: true,
      secret: true,
    },
    project: {
      env: 'SREGISTRY_GITLAB_PROJECT',
      describe: 'Path of the project with the images. Default: the collection of a name',
      example: 'group/containers',
    },
    base: {
      env: 'SREGISTRY_GITLAB_BASE',
      describe: 'Address of the server',
      type: 'url',
      default: 'https://gitlab.com/',
    },
    tokenType: {
      describe: 'Kind of the token. auto goes by how it begins, and takes any other for a personal one',
      choices: ['auto', 'private', 'deploy', 'job'],
      default: 'auto',
    },
    folder: {
      env: 'SREGISTRY_GITLAB_FOLDER',
      describe: 'Folder in job artifacts that holds the image',
      default: 'build',
    },
  },
} as const;
