/**
 * What the reasons in Drive's refusals mean ("Resolve errors", Google Drive API). Drive answers 403 to what may not be done, to what
 * there is no room for, and to requests that come too fast. Only the last are worth repeating.
 */
import { type ErrorCode, SregistryError } from '../../base/errors.ts';
import type { FailedResponse } from '../http.ts';

interface Meaning {
  readonly code: ErrorCode;
  readonly hint?: string;
  /** Should the request be sent again after a while? */
  readonly isPassing?: boolean;
}

const TOO_FAST: Meaning = { code: 'RATE_LIMITED', isPassing: true };
const FULL_FOLDER: Meaning = { code: 'NO_SPACE', hint: 'remove images there, or use another folder' };

const MEANINGS: Readonly<Record<string, Meaning>> = {
  rateLimitExceeded: TOO_FAST,
  userRateLimitExceeded: TOO_FAST,
  dailyLimitExceeded: {
    code: 'RATE_LIMITED',
    hint: 'wait until tomorrow, or raise the quota of the Google Cloud project',
  },
  sharingRateLimitExceeded: { code: 'RATE_LIMITED', hint: 'wait until tomorrow before you share more' },
  downloadQuotaExceeded: {
    code: 'RATE_LIMITED',
    hint: 'too many people read this image; wait a day, or read a copy of it',
  },
  storageQuotaExceeded: {
    code: 'NO_SPACE',
    hint: 'empty the trash of the drive. A service account has no room of its own: name a shared drive (sharedDrive=ID)',
  },
  teamDriveFileLimitExceeded: FULL_FOLDER,
  numChildrenInNonRootLimitExceeded: FULL_FOLDER,
  cannotDownloadAbusiveFile: {
    code: 'FORBIDDEN',
    hint: 'Google takes the image for malware. If you own it and trust it, set acknowledgeAbuse=yes',
  },
  accessNotConfigured: {
    code: 'SETTINGS',
    hint: 'enable the Google Drive API for the project of the credentials, at https://console.cloud.google.com/apis/library/drive.googleapis.com',
  },
  insufficientPermissions: {
    code: 'FORBIDDEN',
    hint: 'the login permits less than this takes: check the option scope, and log in again',
  },
  appNotAuthorizedToFile: {
    code: 'FORBIDDEN',
    hint: 'with the scope drive.file, only files that sregistry made are accessible: set scope=drive, and log in again',
  },
};

/** Status after which the base client waits and repeats any request. */
const TOO_MANY_REQUESTS = 429;

/** The error by the reason in Drive's answer; unchanged if the answer has none, or another one. */
export function explain(error: SregistryError, { text }: Pick<FailedResponse, 'text'>): SregistryError {
  const meaning = error.status === 403 ? MEANINGS[reasonIn(text) ?? ''] : undefined;
  if (meaning === undefined) return error;
  return new SregistryError(meaning.code, error.message, {
    hint: meaning.hint,
    status: meaning.isPassing ? TOO_MANY_REQUESTS : error.status,
    retryAfter: error.retryAfter,
    cause: error,
  });
}

/** `{"error": {"errors": [{"reason": "..."}]}}` */
function reasonIn(text: string): string | undefined {
  try {
    const reason: unknown = JSON.parse(text)?.error?.errors?.[0]?.reason;
    return typeof reason === 'string' && Object.hasOwn(MEANINGS, reason) ? reason : undefined;
  } catch {
    return undefined;
  }
}
