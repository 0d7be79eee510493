/**
 * Dropbox's refusals. It answers 409 to nearly all of them; what is wrong stands in `error_summary`, as the path of tags that leads to
 * it: `path/not_found/...` ("Errors by status code", Dropbox HTTP documentation).
 */
import { type ErrorCode, SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { FailedResponse } from '../http.ts';

interface Meaning {
  readonly code: ErrorCode;
  /** The status that means the same to the retry policy and to the kit. */
  readonly status: number;
  readonly hint?: string;
}

/** By a part of the summary; the first that occurs counts. */
const MEANINGS: readonly (readonly [RegExp, Meaning])[] = [
  [/too_many_(requests|write_operations|files)/, { code: 'RATE_LIMITED', status: 429 }],
  [
    /insufficient_(space|quota)/,
    { code: 'NO_SPACE', status: 507, hint: 'empty the Dropbox, or get more space for it' },
  ],
  [
    /missing_scope/,
    {
      code: 'FORBIDDEN',
      status: 403,
      hint: 'permit this to the app, at https://www.dropbox.com/developers/apps, then log in again',
    },
  ],
  [
    /no_write_permission|access_denied|restricted_content|team_folder|no_permission|not_authorized/,
    { code: 'FORBIDDEN', status: 403 },
  ],
  [
    /email_not_verified/,
    { code: 'FORBIDDEN', status: 403, hint: 'verify your email address at dropbox.com first' },
  ],
  [
    /content_hash_mismatch/,
    { code: 'CORRUPT', status: 400, hint: 'the file may have changed while it was pushed; push it again' },
  ],
  [
    /malformed_path|disallowed_name/,
    { code: 'INVALID_NAME', status: 400, hint: 'Dropbox has no such names; choose another one' },
  ],
  [/locked/, { code: 'BUSY', status: 423 }],
  [/conflict|shared_link_already_exists/, { code: 'EXISTS', status: 409 }],
  [/not_found|not_file/, { code: 'NOT_FOUND', status: 404 }],
  [/internal_error/, { code: 'SERVICE', status: 500 }],
];

/** An error with Dropbox's own words for it. */
export class DropboxFailure extends SregistryError {
  readonly summary: string;
  /** Bytes that an upload session has, if another offset was named. */
  readonly correctOffset: number | undefined;

  constructor(
    meaning: Meaning,
    error: SregistryError,
    { summary, correctOffset }: Pick<DropboxFailure, 'summary' | 'correctOffset'>,
  ) {
    const request = error.message.replace(/: \d{3}\b.*$/s, '');
    super(meaning.code, `${request}: Dropbox says ${summary}`, {
      hint: meaning.hint ?? error.hint,
      status: meaning.status,
      retryAfter: error.retryAfter,
      cause: error,
    });
    this.summary = summary;
    this.correctOffset = correctOffset;
  }
}

export function isFailure(error: unknown, summary: RegExp): error is DropboxFailure {
  return error instanceof DropboxFailure && summary.test(error.summary);
}

/** The error that Dropbox's answer summarizes; unchanged if the answer has no summary. `loginHint`: what to do if the token is malformed. */
export function explain(
  error: SregistryError,
  { text }: Pick<FailedResponse, 'text'>,
  loginHint: string,
): SregistryError {
  const answer = parse(text);
  const { error_summary: given, error: details } = answer;
  // Said in words, and not with 401.
  if (error.status === 400 && /access token is malformed/.test(text))
    return new SregistryError('UNAUTHORIZED', error.message, { hint: loginHint, status: 401, cause: error });
  if (typeof given !== 'string') return error;
  // Random characters or dots end it, so that nobody compares it as a whole.
  const summary = given
    .replace(/\/[.\w-]{0,8}$/, '')
    .replace(/[^\w/,. -]/g, '')
    .slice(0, 200);
  const found = MEANINGS.find(([pattern]) => pattern.test(summary))?.[1];
  const isPlain = error.status === 401 && found?.code !== 'FORBIDDEN';
  const meaning = isPlain ? undefined : found;
  return new DropboxFailure(meaning ?? plain(error), error, {
    summary,
    correctOffset: offsetIn(details),
  });
}

/** What a refusal means that is not in the table. The kit would take a status of 409 for a conflict. */
function plain({ code, status }: SregistryError): Meaning {
  return status === 409 ? { code: 'SERVICE', status: 400 } : { code, status: status ?? 400 };
}

/** `correct_offset`, which stands one level deeper for a session that cannot be finished. */
function offsetIn(details: unknown): number | undefined {
  if (!isJsonObject(details)) return undefined;
  const { correct_offset: offset, lookup_failed: deeper } = details;
  return Number.isSafeInteger(offset) ? (offset as number) : offsetIn(deeper);
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}
