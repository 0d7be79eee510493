/**
 * What the codes in Globus's refusals mean. The Transfer API answers with `{"code": "...", "message": "..."}`; the code may have a prefix
 * (`ExternalError.MkdirFailed.Exists`), and its status is often 502 where only the collection refused.
 */
import { type ErrorCode, SregistryError } from '../../base/errors.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { FailedResponse } from '../http.ts';

interface Meaning {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly status: number;
  readonly hint?: string;
}

const MEANINGS: readonly Meaning[] = [
  { pattern: /Exists$/, code: 'EXISTS', status: 409 },
  { pattern: /NotFound$/, code: 'NOT_FOUND', status: 404 },
  { pattern: /PermissionDenied$/, code: 'FORBIDDEN', status: 403 },
  {
    pattern: /GCDisconnected|GCPaused|NotConnected$/,
    code: 'UNREACHABLE',
    status: 409,
    hint: 'start Globus Connect Personal on the machine of that endpoint',
  },
];

/** Creates the `interpret` of a base client for the backend `name`. */
export function explainFor(name: string) {
  return (error: SregistryError, { text }: Pick<FailedResponse, 'text'>): SregistryError => {
    const answer = objectIn(text);
    const scopes = requiredScopes(answer);
    if (scopes.length > 0)
      return new SregistryError(
        'UNAUTHORIZED',
        `${error.message}. It requires the scope ${scopes.join(' ')}`,
        {
          hint: `consent to it: sregistry auth login ${name}`,
          status: error.status,
          cause: error,
        },
      );
    const code = typeof answer.code === 'string' ? answer.code : '';
    const meaning = MEANINGS.find(({ pattern }) => pattern.test(code));
    if (meaning === undefined) return error;
    const { hint = error.code === meaning.code ? error.hint : undefined, status } = meaning;
    return new SregistryError(meaning.code, error.message, { hint, status, cause: error });
  };
}

/** `required_scopes`, which collections wrap into `authorization_parameters` ("Globus Auth Requirements Error"). */
function requiredScopes(answer: JsonObject): string[] {
  const parameters = [answer, answer.authorization_parameters, answer.detail].filter(isJsonObject);
  return parameters
    .flatMap(({ required_scopes: scopes }) => (Array.isArray(scopes) ? scopes : []))
    .filter((scope): scope is string => typeof scope === 'string' && /^[\x21-\x7e]{1,1000}$/.test(scope));
}

function objectIn(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}
