/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'swift',
  title: 'OpenStack Swift and Ceph RGW',
  aliases: ['swift'],
  capabilities: ['list', 'push', 'search', 'share', 'remove', 'copy', 'check'],
  options: {
    url: {
      env: [
        'SREGISTRY_SWIFT_URL',
        'OS_AUTH_URL',
        'ST_AUTH',
        'SREGISTRY_SWIFT_OS_STORAGE_URL',
        'OS_STORAGE_URL',
      ],
      describe: 'Address to log in at. With a token that you have already: address of the account',
      required: true,
      type: 'url',
      example: 'https://keystone.example.org:5000/v3',
    },
    authtype: {
      env: 'SREGISTRY_SWIFT_AUTHTYPE',
      describe:
        'Kind of login, as for the Python client: keystonev3, preauth for a token, anything else for version 1. Default: what the other options show',
      example: 'keystonev3',
    },
    user: {
      env: ['SREGISTRY_SWIFT_USER', 'OS_USERNAME', 'ST_USER'],
      describe: 'User; for version 1 with the account: `account:user`',
    },
    token: {
      env: ['SREGISTRY_SWIFT_TOKEN', 'OS_PASSWORD', 'ST_KEY'],
      describe: 'Password or key of that user',
      secret: true,
    },
    tenant: {
      env: ['SREGISTRY_SWIFT_TENANT', 'OS_PROJECT_NAME', 'OS_TENANT_NAME'],
      describe: "Name of the project. Default: the user's own, or Default with authtype keystonev3",
    },
    projectId: { env: ['OS_PROJECT_ID', 'OS_TENANT_ID'], describe: 'Id of the project, instead of its name' },
    userDomain: {
      env: 'OS_USER_DOMAIN_NAME',
      describe: 'Name of the domain of the user',
      default: 'Default',
    },
    userDomainId: { env: 'OS_USER_DOMAIN_ID', describe: 'Id of that domain, instead of its name' },
    projectDomain: {
      env: 'OS_PROJECT_DOMAIN_NAME',
      describe: 'Name of the domain of the project',
      default: 'Default',
    },
    projectDomainId: { env: 'OS_PROJECT_DOMAIN_ID', describe: 'Id of that domain, instead of its name' },
    applicationCredentialId: {
      env: 'OS_APPLICATION_CREDENTIAL_ID',
      describe: 'Id of an application credential, used instead of user and password',
    },
    applicationCredentialName: {
      env: 'OS_APPLICATION_CREDENTIAL_NAME',
      describe: 'Name of an application credential of the user, instead of its id',
    },
    applicationCredentialSecret: {
      env: 'OS_APPLICATION_CREDENTIAL_SECRET',
      describe: 'Secret of the application credential',
      secret: true,
      asked: false,
    },
    region: {
      env: ['SREGISTRY_SWIFT_REGION', 'OS_REGION_NAME'],
      describe: 'Region whose storage to use. Default: the first in the catalog',
    },
    interface: {
      env: ['OS_INTERFACE', 'OS_ENDPOINT_TYPE'],
      describe: 'Which address of the storage to use: public, internal or admin',
      default: 'public',
    },
    authToken: {
      env: ['SREGISTRY_SWIFT_OS_AUTH_TOKEN', 'OS_AUTH_TOKEN'],
      describe: 'Token to use instead of a login, as long as it is valid',
      secret: true,
      asked: false,
    },
    storageUrl: {
      env: ['SREGISTRY_SWIFT_OS_STORAGE_URL', 'OS_STORAGE_URL'],
      describe: 'Address of the account. Default: what the login answers',
      type: 'url',
      example: 'https://swift.example.org/v1/AUTH_lab',
    },
    tempUrlKey: {
      env: 'SREGISTRY_SWIFT_TEMP_URL_KEY',
      describe: 'Key that signs the links of `share`. Default: the key of the container or the account',
      secret: true,
      asked: false,
    },
    segment: {
      env: 'SREGISTRY_SWIFT_SEGMENT',
      describe: 'A larger image is stored in segments of this size; at most 5GiB',
      type: 'integer',
      unit: 'bytes',
      default: '1GiB',
    },
  },
} as const;
