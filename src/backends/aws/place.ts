/**
 * Where a registry and its API are. Each account has a registry in each region. The public one is for all, and its API is in
 * us-east-1 only ("Amazon ECR endpoints and quotas", AWS General Reference).
 */
import { SregistryError } from '../../base/errors.ts';
import type { OptionValues } from '../../settings/options.ts';
import type { declaration } from './declaration.ts';

export interface Place {
  /** Host or address of the registry. */
  readonly registry: string;
  readonly api: URL;
  readonly region: string;
  /** Of the API, as signatures name it. */
  readonly service: string;
  /** What the API's actions begin with. */
  readonly target: string;
  /** Undefined for the public registry. */
  readonly account: string | undefined;
  /** A repository's path as the API names it. */
  repositoryName(path: string): string;
}

const PUBLIC = 'public';

type Options = OptionValues<typeof declaration.options>;

export function placeOf(
  instance: string,
  options: Pick<Options, 'account' | 'region' | 'base' | 'endpoint'>,
): Place {
  const { account, region = '', base, endpoint } = options;
  if (account === PUBLIC)
    return {
      registry: base ?? 'public.ecr.aws',
      api: new URL(endpoint ?? 'https://api.ecr-public.us-east-1.amazonaws.com/'),
      region: 'us-east-1',
      service: 'ecr-public',
      target: 'SpencerFrontendService',
      account: undefined,
      // The alias of the account comes first in paths.
      repositoryName: (path) => path.slice(path.indexOf('/') + 1),
    };
  if (!/^\d{12}$/.test(account))
    throw new SregistryError('SETTINGS', `${instance}: "${account}" is not the number of an account`, {
      hint: 'it has 12 digits (aws sts get-caller-identity), or is the word public',
    });
  if (!/^[a-z]{2}(-[a-z]+)+-\d$/.test(region))
    throw new SregistryError('SETTINGS', `${instance}: "${region}" is not a region`, {
      hint: 'such as eu-central-1',
    });
  const domain = `${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
  return {
    registry: base ?? `${account}.dkr.ecr.${domain}`,
    api: new URL(endpoint ?? `https://api.ecr.${domain}/`),
    region,
    service: 'ecr',
    target: 'AmazonEC2ContainerRegistry_V20150921',
    account,
    repositoryName: (path) => path,
  };
}
