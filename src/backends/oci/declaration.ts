import { ARCH_OPTION } from '../kit/arch-option.ts';
import { SOCI_OPTION } from './soci-option.ts';

/** The driver's declaration, apart from its code: settings and help read it without loading an HTTP client. */
export const declaration = {
  name: 'oci',
  defaultInstance: 'docker',
  title: 'OCI distribution registry (Docker Hub, ghcr, quay, Harbor, GitLab, ECR, ...)',
  aliases: ['docker', 'oras', 'oci'],
  capabilities: ['list', 'push', 'search', 'remove', 'copy', 'check'],
  options: {
    base: {
      env: 'SREGISTRY_DOCKERHUB_BASE',
      describe: 'Address of the registry. Default: the one a name begins with, else Docker Hub',
      example: 'https://registry.example.org',
    },
    username: {
      env: ['SREGISTRY_DOCKERHUB_USERNAME', 'DOCKER_USERNAME'],
      describe: 'User of that registry. Default: the logins of apptainer, docker and podman',
    },
    password: {
      env: ['SREGISTRY_DOCKERHUB_PASSWORD', 'DOCKER_PASSWORD'],
      describe: 'Password or token of that user',
      secret: true,
    },
    arch: { ...ARCH_OPTION, env: 'SREGISTRY_DOCKERHUB_ARCH' },
    soci: SOCI_OPTION,
    nohttps: {
      env: 'SREGISTRY_DOCKERHUB_NOHTTPS',
      describe: 'Use plain http. Default: only on the loopback',
      type: 'boolean',
    },
  },
} as const;
