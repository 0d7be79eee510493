import { readFile } from 'node:fs/promises';
import { type ParseError, parse, printParseErrorCode } from 'jsonc-parser';
import { SregistryError, systemCode } from '../base/errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Is it a number of bytes that a file can have? */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A file that does not hold a JSON object. */
export class MalformedFile extends SregistryError {
  constructor(message: string, hint: string) {
    super('SETTINGS', message, { hint });
  }
}

/**
 * Reads the object in a JSON file; empty if the file is empty, undefined if there is no file. Throws SETTINGS if the file cannot be
 * read, is malformed or holds no object. The message names file, line and column, but never quotes the content, which may be secret.
 */
export async function readJsonObject(file: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw new SregistryError('SETTINGS', `Cannot read ${file}.`, { cause: error });
  }
  return text.trim() === '' ? {} : parseJsonObject(text, file);
}

function parseJsonObject(text: string, file: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed(text, file);
  }
  if (isJsonObject(value)) return value;
  throw new MalformedFile(
    `${file} is malformed at line 1, column 1: it must hold a JSON object.`,
    'Write the file so that it begins with { and ends with }',
  );
}

/**
 * The error for malformed JSON. JSON.parse quotes the content and does not always tell the position, so a second parser finds the
 * first error.
 */
function malformed(text: string, file: string): SregistryError {
  const errors: ParseError[] = [];
  parse(text, errors, { disallowComments: true });
  const { offset, error } = errors[0] ?? { offset: 0, error: undefined };
  const before = text.slice(0, offset).split('\n');
  const place = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
  const reason = error === undefined ? 'not JSON' : spaced(printParseErrorCode(error));
  return new MalformedFile(
    `${file} is malformed at ${place}: ${reason}.`,
    'Correct the file by hand, or move it away',
  );
}

/** `CommaExpected` -> `comma expected` */
const spaced = (words: string) => words.replace(/\B[A-Z]/g, ' $&').toLowerCase();
