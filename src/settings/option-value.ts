/**
 * Checks a value against its option's declaration, whether it comes from the environment, the secrets file, or a command that is about
 * to write it. A refusal is the error SETTINGS, which names the option, the place of the value, and an example of a valid value.
 */
import { isError, SregistryError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { formatArchitecture, parsePlatform } from '../base/platform.ts';
import { redact } from '../log/index.ts';
import { parseBoolean, parseDuration, parseSize } from './environment.ts';
import { isJsonObject } from './json.ts';
import type { OptionSchema, OptionSpec } from './options.ts';
import { upperSnake } from './variables.ts';

/** A value before parsing. */
export interface WrittenValue {
  readonly text: string;
  /** The place of the value, for messages: `AWS_REGION`, `"base" of "lab" in the secrets file`. */
  readonly place: string;
}

/** The parsed value of the option `name` of a backend. Throws SETTINGS if the option does not allow the value. */
export function checkOption(
  instance: string,
  name: string,
  spec: OptionSpec,
  written: WrittenValue,
): string | boolean | number {
  const expectation = expectationOf(spec);
  const value = expectation.parse(written.text);
  if (value !== undefined) return value;
  const shown = spec.secret ? '' : ` ("${redact(written.text)}")`;
  const message = `The option ${name} of ${instance} is not ${expectation.what}: ${written.place}${shown}.`;
  const meant = spec.choices && nearest(written.text, spec.choices);
  throw new SregistryError('SETTINGS', message, {
    hint:
      meant === undefined ? `It should look like ${spec.example ?? expectation.example}` : didYouMean(meant),
  });
}

interface Expectation {
  /** Completes the message `is not ...`: `a URL`. */
  readonly what: string;
  readonly example: string;
  /** Undefined for an invalid text. */
  parse(text: string): string | boolean | number | undefined;
}

function expectationOf({ type, unit, choices }: OptionSpec): Expectation {
  if (choices !== undefined) {
    const [first = ''] = choices;
    return {
      what: `one of ${choices.join(', ')}`,
      example: first,
      parse: (text) => choices.find((choice) => choice === text),
    };
  }
  switch (type) {
    case 'boolean':
      return { what: 'a boolean', example: 'yes or no', parse: parseBoolean };
    case 'integer':
      return integerOf(unit);
    case 'url':
      return { what: 'a URL', example: 'https://registry.example.org', parse: webAddress };
    case 'path':
      return { what: 'a path', example: '/path/of/it', parse: path };
    case 'json':
      return { what: 'a JSON object', example: '{"key": "value"}', parse: jsonText };
    case 'architecture':
      return { what: 'an architecture', example: 'arm64', parse: architecture };
    default:
      return { what: 'a text', example: 'text', parse: (text) => text };
  }
}

function webAddress(text: string): string | undefined {
  return /^https?:$/.test(URL.parse(text)?.protocol ?? '') ? text : undefined;
}

function architecture(text: string): string | undefined {
  return valid(() => formatArchitecture(parsePlatform(text)));
}

/** Refuses a leading `~`: a shell does not expand it in `base=~/images`, so the path would not exist. */
function path(text: string): string | undefined {
  return text.includes('\0') || /^~(?:\/|$)/.test(text) ? undefined : text;
}

function jsonText(text: string): string | undefined {
  try {
    return isJsonObject(JSON.parse(text)) ? text : undefined;
  } catch {
    return undefined;
  }
}

function integerOf(unit: OptionSpec['unit']): Expectation {
  switch (unit) {
    case 'bytes':
      return { what: 'a size', example: '16MiB', parse: (text) => whole(() => sizeOf(text)) };
    case 'seconds':
      return {
        what: 'a duration',
        example: '30s, 2m',
        parse: (text) => whole(() => parseDuration(text, '')),
      };
    default:
      return {
        what: 'a whole number',
        example: '4',
        parse: (text) => (/^\d{1,15}$/.test(text) ? +text : undefined),
      };
  }
}

function sizeOf(text: string): number | undefined {
  const size = parseSize(text, '');
  return 'bytes' in size ? size.bytes : undefined;
}

function whole(parse: () => number | undefined): number | undefined {
  const value = valid(parse);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** What `parse` returns; undefined if it refuses the text. */
function valid<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (isError(error, 'SETTINGS', 'USAGE')) return undefined;
    throw error;
  }
}

/** The error for a name that is not an option of the driver. */
export function unknownOption(name: string, driver: string, schema: OptionSchema): SregistryError {
  const options = Object.keys(schema);
  const meant = nearestOption(name, options);
  const known =
    options.length === 0 ? `The driver ${driver} has no options` : `The options are ${options.join(', ')}`;
  return new SregistryError('SETTINGS', `"${name}" is not an option of the driver ${driver}.`, {
    hint: meant === undefined ? known : didYouMean(meant),
  });
}

/** The option that a misspelt name probably means. The name may be a variable: `SREGISTRY_S3_BUCKT`. */
export function nearestOption(name: string, options: readonly string[]): string | undefined {
  const words = upperSnake(name).split('_');
  const endings = words.map((_word, start) => words.slice(start).join('_'));
  const spelt = options.map(upperSnake);
  const meant = endings.map((ending) => nearest(ending, spelt)).find((found) => found !== undefined);
  return meant && options[spelt.indexOf(meant)];
}

const didYouMean = (meant: string) => `Did you mean ${meant}?`;
