/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'globus',
  title: 'Globus collections',
  aliases: ['globus'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  options: {
    login: {
      env: ['SREGISTRY_GLOBUS_LOGIN', 'GLOBUS_TRANSFER_RESPONSE'],
      describe: 'Login to Globus: the refresh token of each service',
      required: true,
      secret: true,
      type: 'json',
      example: '{"transfer.api.globus.org": "..."}',
    },
    identity: {
      env: 'GLOBUS_AUTH_RESPONSE',
      describe: "The Python client's login to Globus Auth. sregistry only revokes it at a logout",
      secret: true,
      type: 'json',
    },
    endpoint: {
      env: 'SREGISTRY_GLOBUS_ENDPOINT',
      describe: 'Id of the collection with the images. Default: each name says it, `<id>:<path>`',
      example: '6881ae2e-db26-11e5-9772-22000b9da45e',
    },
    path: {
      env: 'SREGISTRY_GLOBUS_PATH',
      describe:
        'Folder with the images in a collection, from its default folder unless it begins with a slash',
      default: '.singularity/shub',
    },
    localEndpoint: {
      env: 'SREGISTRY_GLOBUS_LOCAL_ENDPOINT',
      describe:
        'Id of the endpoint on this machine, for collections without HTTPS. Default: that of Globus Connect Personal',
      example: '1b2bd9c5-5d32-4b1d-a4a5-3c1ec8d3f1c2',
    },
    localFolder: {
      env: 'SREGISTRY_GLOBUS_LOCAL_FOLDER',
      describe:
        'Folder for the files of those transfers. Default: `.sregistry-globus` in the first folder of Globus Connect Personal',
      type: 'path',
      example: '/scratch/me/globus',
    },
    localPath: {
      env: 'SREGISTRY_GLOBUS_LOCAL_PATH',
      describe: 'Path of that folder at the local endpoint. Default: the same path as on disk',
      example: '/~/globus',
    },
    clientId: {
      env: 'SREGISTRY_GLOBUS_CLIENT_ID',
      describe: "Id of the application at Globus Auth. Default: the Python client's",
      default: 'ae32247c-2c17-4c43-92b5-ba7fe9957dbb',
    },
    transferBase: {
      env: ['SREGISTRY_GLOBUS_TRANSFER_BASE', 'GLOBUS_SDK_SERVICE_URL_TRANSFER'],
      describe: 'Address of the service Globus Transfer',
      type: 'url',
      default: 'https://transfer.api.globus.org',
    },
    authBase: {
      env: ['SREGISTRY_GLOBUS_AUTH_BASE', 'GLOBUS_SDK_SERVICE_URL_AUTH'],
      describe: 'Address of the service Globus Auth',
      type: 'url',
      default: 'https://auth.globus.org',
    },
  },
} as const;
