import { expect, test } from 'vitest';
import { misspeltOptions } from '../../src/settings/instances.ts';
import { checkOption } from '../../src/settings/option-value.ts';
import { resolveOptions } from '../../src/settings/resolve.ts';
import { driver } from './drivers.ts';

const SCHEMA = {
  base: { type: 'path', describe: '' },
  signature: { choices: ['s3v4', 'none'], describe: '' },
  workers: { type: 'integer', describe: '' },
  part: { type: 'integer', unit: 'bytes', default: '16MiB', describe: '' },
  patience: { type: 'integer', unit: 'seconds', describe: '' },
} as const;

const resolve = (env: NodeJS.ProcessEnv, secrets = {}) =>
  resolveOptions({ instance: 'lab', driver: 'acme', schema: SCHEMA, env, secrets });

test('integers are numbers, and may have the unit that they count', () => {
  const secrets = { lab: { workers: 4, patience: '2m' } };
  expect(resolve({}, secrets).values).toEqual({ workers: 4, patience: 120, part: 16 * 1024 ** 2 });
  expect(resolve({ SREGISTRY_LAB_PART: '5000000' }).values.part).toBe(5_000_000);
});

test.each([
  ['SIGNATURE', 's3v5', 'one of s3v4, none', 'Did you mean s3v4?'],
  ['SIGNATURE', 'whatever', 'one of s3v4, none', 'It should look like s3v4'],
  ['WORKERS', '-1', 'a whole number', 'It should look like 4'],
  ['WORKERS', '1.5', 'a whole number', 'It should look like 4'],
  ['PART', '10%', 'a size', 'It should look like 16MiB'],
  ['PATIENCE', 'soon', 'a duration', 'It should look like 30s, 2m'],
  ['BASE', '~/images', 'a path', 'It should look like /path/of/it'],
])('%s=%s is an error that names option, place and what would do', (name, value, what, hint) => {
  const variable = `SREGISTRY_LAB_${name}`;
  expect(() => resolve({ [variable]: value })).toThrow(
    expect.objectContaining({
      code: 'SETTINGS',
      message: `The option ${name.toLowerCase()} of lab is not ${what}: ${variable} ("${value}").`,
      hint,
    }),
  );
  expect(() => resolve({}, { lab: { [name.toLowerCase()]: value } })).toThrow(
    /" of "lab" in the secrets file/,
  );
});

test('a text may be anything', () => {
  expect(checkOption('lab', 'x', { describe: '' }, { text: '~/', place: 'X' })).toBe('~/');
});

test('a misspelt option in the secrets file is told, and what scripts keep there is not', () => {
  const instance = { name: 'lab-s3', driver: driver('s3') };
  const entry = {
    driver: 's3',
    bukcet: 'b',
    SREGISTRY_LAB_S3_BUCKT: 'b',
    AUTH_RESPONSE: {},
    AWS_ACCESS_KEY_ID: 'x',
  };
  const problems = misspeltOptions(instance, { 'lab-s3': entry });
  expect(problems.map(({ message, hint }) => `${message} ${hint}`)).toEqual([
    '"bukcet" is not an option of the driver s3. Did you mean bucket?',
    '"SREGISTRY_LAB_S3_BUCKT" is not an option of the driver s3. Did you mean bucket?',
  ]);
});
