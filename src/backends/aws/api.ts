/**
 * The requests to ECR's own API (Amazon ECR API Reference, Amazon ECR Public API Reference): passwords for the registry, which live
 * for 12 hours, and its repositories, which must exist before a push.
 */
import { createHash } from 'node:crypto';
import { type ErrorCode, isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import { createHttpClient, type FailedResponse } from '../http.ts';
import type { CredentialSource } from '../kit/aws/credentials.ts';
import { createSigner } from '../kit/aws/signer.ts';
import type { TimedLogin } from '../oci/registries.ts';
import type { Place } from './place.ts';

export interface EcrApi {
  /** The login to the registry; undefined without credentials of AWS. */
  login(signal: AbortSignal): Promise<TimedLogin | undefined>;
  /** Paths of all repositories of the account. */
  repositories(signal: AbortSignal): Promise<string[]>;
  createRepository(path: string, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Seconds that a password lives if the answer does not say ("GetAuthorizationToken"). */
const LIFETIME = 12 * 3600;
/** Seconds for which a password is used that has ended already by the clock of this machine, which must be wrong. */
const DOUBTED_LIFETIME = 300;
/** Entries in a page of repositories: the most there may be. */
const PAGE_SIZE = 1000;
/** Pages after which a listing counts as endless. */
const MAX_PAGES = 1000;

/** Exceptions with another meaning than their status, which is 400 for nearly all. */
const MEANINGS: Readonly<Record<string, ErrorCode>> = {
  AccessDeniedException: 'FORBIDDEN',
  ExpiredTokenException: 'UNAUTHORIZED',
  InvalidClientTokenId: 'UNAUTHORIZED',
  InvalidSignatureException: 'UNAUTHORIZED',
  IncompleteSignatureException: 'UNAUTHORIZED',
  LimitExceededException: 'NO_SPACE',
  MissingAuthenticationTokenException: 'UNAUTHORIZED',
  RepositoryAlreadyExistsException: 'EXISTS',
  RepositoryNotFoundException: 'NOT_FOUND',
  SignatureDoesNotMatch: 'UNAUTHORIZED',
  ThrottlingException: 'RATE_LIMITED',
  UnrecognizedClientException: 'UNAUTHORIZED',
};

export function createApi(
  { name, env }: { readonly name: string; readonly env: NodeJS.ProcessEnv },
  place: Place,
  credentials: CredentialSource,
): EcrApi {
  const { service, region, target, account } = place;
  const http = createHttpClient({
    base: place.api,
    env,
    authorize: createSigner({ driver: 'aws', service, region }, credentials).sign,
    interpret: (error, answer) => interpret(error, answer, name),
  });

  async function send(action: string, input: JsonObject, signal?: AbortSignal): Promise<JsonObject> {
    const body = JSON.stringify(input);
    const headers = {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-content-sha256': createHash('sha256').update(body).digest('hex'),
      'x-amz-target': `${target}.${action}`,
    };
    const reply = await http.post(place.api, { body, headers, idempotent: true, signal });
    const answer = reply.json();
    if (isJsonObject(answer)) return answer;
    throw new SregistryError('SERVICE', `${place.api.host}: the answer to ${action} is malformed`);
  }

  /** A temporary key may end earlier than it says: then it is replaced once. */
  async function call(action: string, input: JsonObject, signal?: AbortSignal): Promise<JsonObject> {
    const used = await credentials();
    return send(action, input, signal).catch(async (error: unknown) => {
      if (!isError(error, 'UNAUTHORIZED') || used?.sessionToken === undefined) throw error;
      const renewed = await credentials({ renew: true });
      if (renewed?.sessionToken === used.sessionToken) throw error;
      return send(action, input, signal);
    });
  }

  const ofAccount = account === undefined ? {} : { registryId: account };

  return {
    login: async (signal) => {
      if ((await credentials()) === undefined) return undefined;
      const { authorizationData } = await call('GetAuthorizationToken', {}, signal);
      // The public registry answers with one, the private one with a list of one.
      return toLogin([authorizationData].flat()[0], place);
    },

    repositories: async (signal) => {
      const paths: string[] = [];
      let nextToken: unknown;
      for (let page = 0; page < MAX_PAGES; page++) {
        const more = typeof nextToken === 'string' ? { nextToken } : {};
        const input = { ...ofAccount, maxResults: PAGE_SIZE, ...more };
        const answer = await call('DescribeRepositories', input, signal);
        for (const one of Array.isArray(answer.repositories) ? answer.repositories : []) {
          const path = /^[^/]+\/(.+)$/.exec(String(one?.repositoryUri))?.[1];
          if (path !== undefined) paths.push(path);
        }
        if (typeof answer.nextToken !== 'string' || answer.nextToken === nextToken) return paths;
        nextToken = answer.nextToken;
      }
      throw new SregistryError('SERVICE', `${place.api.host}: the list of repositories has no end`);
    },

    createRepository: async (path, signal) => {
      const input = { ...ofAccount, repositoryName: place.repositoryName(path) };
      await call('CreateRepository', input, signal).catch((error: unknown) => {
        // Another push may have made it meanwhile.
        if (!isError(error, 'EXISTS')) throw error;
      });
    },

    close: () => http.close(),
  };
}

function toLogin(data: unknown, { api }: Place): TimedLogin {
  const { authorizationToken = '', expiresAt } = isJsonObject(data) ? data : {};
  const text = Buffer.from(String(authorizationToken), 'base64').toString();
  const [, username, password] = /^([^:]+):([\x21-\x7e]+)$/.exec(text) ?? [];
  if (username === undefined || password === undefined)
    throw new SregistryError('SERVICE', `${api.host}: the answer has no password for the registry`);
  const lifetime = typeof expiresAt === 'number' ? expiresAt - Date.now() / 1000 : LIFETIME;
  return { username, password, lifetime: lifetime > 0 ? Math.min(lifetime, LIFETIME) : DOUBTED_LIFETIME };
}

function interpret(error: SregistryError, { text }: FailedResponse, instance: string): SregistryError {
  // `com.amazonaws.ecr#RepositoryNotFoundException`, or without the part in front; XML if the signature is wrong.
  const type = /"__type"\s*:\s*"(?:[^"#]*#)?(\w+)|<Code>(\w+)/.exec(text)?.slice(1).find(Boolean) ?? '';
  const code = Object.hasOwn(MEANINGS, type) ? MEANINGS[type] : undefined;
  const { status, retryAfter } = error;
  if (code === undefined) return error;
  const hint =
    code === 'UNAUTHORIZED'
      ? `check the access key: \`sregistry auth login ${instance}\`; temporary ones end: \`aws sso login\``
      : code === 'FORBIDDEN'
        ? 'the access key lacks a permission: ask for it, or use another one'
        : undefined;
  return new SregistryError(code, `${error.message} (${type})`, { hint, cause: error, status, retryAfter });
}
