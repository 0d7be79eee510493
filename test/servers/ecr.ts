/**
 * Amazon's container registry for tests. Its API is moto, which compares every signature; the registry is Debian's docker-registry,
 * which asks for the password that moto hands out. Between the two stands what docker-registry lacks of ECR: nothing can be pushed
 * to a repository that the API has not made, and there is no catalog.
 */
import { startRegistry } from './docker-registry.ts';
import { startFaultProxy } from './fault-proxy.ts';
import { type Moto, startMoto } from './moto.ts';

export interface TestEcr {
  /** Of the registry. */
  readonly url: string;
  /** Of the API. */
  readonly api: string;
  readonly account: string;
  /** May do anything in ECR. */
  readonly login: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Names of the repositories that the API knows. */
  repositories(): Promise<string[]>;
  close(): Promise<void>;
}

/** moto's only account. */
const ACCOUNT = '123456789012';
/** `AWS` with moto's password, as `htpasswd -nbBC 4` writes it. */
const HTPASSWD = 'AWS:$2b$04$UMs23k0RN.ce.DX5wXyGW.NwUmEjfl4DdPvJhzh/4NWHfzAvpx8r.\n';
const POLICY = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'ecr:*', Resource: '*' }] };

export async function startEcr(): Promise<TestEcr> {
  const [moto, registry] = await Promise.all([
    startMoto({ checked: 3 }),
    startRegistry({ auth: 'basic', htpasswd: HTPASSWD }),
  ]);
  const proxy = await startFaultProxy(registry.url);
  const login = await createUser(moto);
  const repositories = async () => {
    const reply = await fetch(`${moto.url}/moto-api/data.json`);
    const { ecr } = (await reply.json()) as { ecr?: { Repository?: { name: string }[] } };
    return (ecr?.Repository ?? []).map(({ name }) => name);
  };
  const pathOf = (url = '') => /^\/v2\/(.+)\/blobs\/uploads\/(?:\?.*)?$/.exec(url)?.[1];
  const always = { times: Number.POSITIVE_INFINITY };
  proxy.inject(
    async ({ url }, response, forward) => {
      if ((await repositories()).includes(pathOf(url) ?? '')) return forward();
      const errors = [{ code: 'NAME_UNKNOWN', message: 'The repository does not exist in the registry' }];
      response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ errors }));
    },
    { ...always, match: ({ method, url }) => method === 'POST' && pathOf(url) !== undefined },
  );
  proxy.inject((_request, response) => void response.writeHead(404).end(), {
    ...always,
    match: ({ url }) => url?.startsWith('/v2/_catalog') === true,
  });
  return {
    url: proxy.url,
    api: moto.url,
    account: ACCOUNT,
    login,
    repositories,
    close: async () => {
      await proxy.close();
      await Promise.all([moto.stop(), registry.remove()]);
    },
  };
}

/** The three requests that moto does not compare. */
async function createUser({ url }: Moto): Promise<TestEcr['login']> {
  const ask = async (query: Record<string, string>) => {
    const body = new URLSearchParams({ ...query, UserName: 'tester', Version: '2010-05-08' });
    // moto takes the service from what would be the signature.
    const headers = { authorization: 'AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request' };
    const reply = await fetch(url, { method: 'POST', body, headers });
    if (!reply.ok) throw new Error(`moto: ${query.Action}: ${await reply.text()}`);
    return reply.text();
  };
  await ask({ Action: 'CreateUser' });
  await ask({ Action: 'PutUserPolicy', PolicyName: 'ecr', PolicyDocument: JSON.stringify(POLICY) });
  const key = await ask({ Action: 'CreateAccessKey' });
  const text = (name: string) => new RegExp(`<${name}>([^<]+)`).exec(key)?.[1] ?? '';
  return { accessKeyId: text('AccessKeyId'), secretAccessKey: text('SecretAccessKey') };
}
